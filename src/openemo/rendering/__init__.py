"""What is drawn by rule and not by a network: flow, mouth, lips, eyes, tone."""
