//! Every bound in the program, with its reason.
