"""Whether a model answers by where and how a film was taken, rather than by what it shows."""
