"""Where TensorFlow, TFP and Keras 3 are joined; not public."""
