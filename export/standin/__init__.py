"""A development server that answers as TensorFlow Serving does, over its C runtime."""
