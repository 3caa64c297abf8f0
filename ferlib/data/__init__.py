"""Chapter 1: the data sets, their splits and their imbalance."""
