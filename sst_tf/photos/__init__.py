"""One's own photos: marks, tuned classes, answers."""
