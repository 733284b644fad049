"""One module per published format: what its files contain, and which of our networks it becomes."""
