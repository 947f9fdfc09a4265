"""The native engine: a C++ library, compiled once on the machine, that runs whole programs."""
