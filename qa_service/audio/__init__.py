"""Sound as arrays: codecs, the telephone line, and the spectra that models take. Pure; no I/O."""
