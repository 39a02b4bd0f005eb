"""Bodies and their motion as numbers: rotations, the skeleton, the 272 channels, capture files, pictures."""
