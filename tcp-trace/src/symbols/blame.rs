//! The line to blame: the first frame of a stack that is the program's own code. Pure.
