"""The interfaces between TensorFlow, TFP and Keras 3, and argument checks; not public."""
