"""One's own photos: marks, taught classes, answers."""
