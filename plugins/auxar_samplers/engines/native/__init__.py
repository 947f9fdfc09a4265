"""The engine `native`, which runs programs in a C++ library that is compiled once on each machine."""
