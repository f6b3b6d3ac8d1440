"""Arrays in, probabilities out: training, evaluation, explanation and prediction."""
