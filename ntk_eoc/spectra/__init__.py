"""Spectra of kernels: limit laws, the deep limit, Lanczos quadrature."""
