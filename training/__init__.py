"""History in, bundle out: simulate, check, build the training set, fit, calibrate, evaluate, score, promote."""
