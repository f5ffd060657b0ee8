"""Drifting as score matching: spectra of the linearised flow, the mean-field equation and its particles."""
