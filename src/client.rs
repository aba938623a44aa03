//! How the rest of the program reads and writes the cluster, near or far.
