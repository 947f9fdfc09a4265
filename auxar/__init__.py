"""auxar: auxiliary-variable autoregressive image models, p(X, X̂) = p(X̂) p(X | X̂)."""
