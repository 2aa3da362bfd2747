//! Configuration: what the files say, what the layers add up to, what the program may rely on.

pub mod settings;
