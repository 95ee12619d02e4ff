"""The law of K(θ) at large width: covariance and mean of K(θ) − K∞ to order 1/m, and what follows.

`docs/finite_width.md` derives it. Everything here is float64.
"""
