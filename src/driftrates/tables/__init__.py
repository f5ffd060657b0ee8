"""Tables of the companion: Datasets in, one DataFrame out, a column per printed column."""
