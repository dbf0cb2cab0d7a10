"""Training: face sets to a checkpoint. Imports layers 0 and 1 of livepaste only; never mediapipe, PyAV or a device."""
