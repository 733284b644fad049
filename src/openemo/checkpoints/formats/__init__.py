"""One module per published format: what its files hold, and which of it becomes which of our parts."""
