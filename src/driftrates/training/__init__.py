"""Training by regression on frozen targets (Appendix A): the gradient, the regression step, its errors, one-step generators."""
