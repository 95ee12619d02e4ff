"""The page to play with: one function a panel, and the marimo app that shows them."""
