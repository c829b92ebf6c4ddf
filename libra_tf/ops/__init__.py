"""Pure functions of tensors: no classes, no state, no Keras, no Model Garden."""
