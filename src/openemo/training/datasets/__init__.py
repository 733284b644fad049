"""The batches of each stage, and what they are made from: coded sequences, voices, mouths, augmentation."""
