"""Finding faces in a picture, cutting them out, and what makes an answer about them doubtful."""
