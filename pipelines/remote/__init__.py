"""Reading on other processes or machines, by tf.data service."""
