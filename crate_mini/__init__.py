"""crate_mini: CRATE, the white-box vision transformer, small enough to read."""
