// Package column turns the values of one column of a block into few bytes, the same ones on every replica.
//
// It has no file, clock, goroutine or chance, knows neither series nor fields, and computes no checksum: package block
// decides which columns are stored together, and under which checksums. A general compressor does not belong here
// either, since its output may differ from one release to the next.
//
// # Duties of the caller
//
//  1. Hand the values to AppendX, with as many as belong together: some hundred to some thousand.
//  2. Store [Version] with what AppendX returns, under a checksum.
//  3. Refuse another Version by name before ReadX sees the bytes.
//  4. Call ReadX with the most values that the column may have, which bounds its memory.
//
// No input makes a ReadX panic, and none makes it allocate more than max values: 8 bytes for each time, integer or
// float, 1 for each boolean, and for strings 32 for each and the length of the input once; the runtime rounds up, and
// what dst has is copied if it has no room for more. An encoder allocates what it appends, for more than 1,024 floats 8 bytes for each, and 128 for each string.
//
// # The bytes
//
// A uvarint has seven bits in each byte, the lowest first, and no byte more than it needs; a varint is a zig-zagged
// uvarint. Fixed numbers are little-endian.
//
//	times, integers, unsigned:
//	    uvarint count; if it is 0, nothing follows
//	    body of whole numbers
//
//	body of whole numbers:
//	    varint  start
//	    uvarint step; if it is 0, each value is start, and nothing follows
//	    u8      form
//	    varint  base     forms 2 and 4
//	    groups  a residual r for each value
//
//	form 1, plain:           value = start + step × r
//	form 2, delta:           value = the one before + step × (base + r); before the first: start
//	form 3, zig-zag delta:   value = the one before + step × z, where r is z zig-zagged
//	form 4, delta of delta:  value = the one before + step × d, where d = the d before + z; before the first: base.
//	                         Times only
//
// All of it is counted modulo 2^64. The step is the greatest common divisor of the differences: times of whole seconds
// and sizes in pages are divided by it. Form 2 begins the differences at a base, so that those of a counter need no
// sign; a reset of the counter lies below the base, and becomes an exception.
//
//	groups, each of 64 residuals, the last of what is left:
//	    u8      0 to 64: width. 65 to 127: so many groups less 64 are zeros, and nothing follows. 128 and more: width
//	            with exceptions
//	    u8      number of exceptions                   only with exceptions
//	    bits    the lowest width bits of each residual, the first in the lowest bits; zeros up to a whole byte
//	    each exception: u8 its place in the group, uvarint its residual without the lowest width bits
//
// The width is the one that makes the group shortest; a residual has a bit at the top of it.
//
//	floats:
//	    uvarint count; if it is 0, nothing follows
//	    u8      form
//	  form 1, decimal: value = m ÷ 10^exponent
//	    u8      exponent, at most 22
//	    body of whole numbers: m for each value
//	    uvarint number of exceptions
//	    each exception: uvarint its distance from the one before, the first: its place; u64 its bits
//	  form 2, XOR: a stream of bits, the first in the lowest bit, zeros up to a whole byte
//	    64 bits of the first value; of each other one x, its bits XOR those of the one before:
//	    0                                               x is 0
//	    1 0 bits                                        x lies in the window
//	    1 1, 6 bits zeros above, 6 bits length - 1, bits  x makes the window: so many zeros above it, so long
//
// Decimals of up to 15 digits survive the division by a power of ten, so the floats that people write come back to the
// bit. An m is in the place of NaNs, infinities, -0 and what else is no such decimal, and they are exceptions.
//
//	booleans:
//	    uvarint count; if it is 0, nothing follows
//	    u8      form
//	  form 1, bits: a bit for each, the first in the lowest bit, zeros up to a whole byte
//	  form 2, runs: u8 the first value, uvarint the length of each run, by turns
//
//	strings:
//	    uvarint count; if it is 0, nothing follows
//	    u8      form
//	  form 1, plain: body of whole numbers: the length of each; their bytes
//	  form 2, dictionary: uvarint number of words; body of whole numbers: the length of each word; their bytes;
//	    body of whole numbers: which word each string is
//
// An encoder takes the shorter of two forms, and the one with the lower number if both are as long. Of whole numbers it takes
// the one that is shortest for a sample of them, and form 2 always if their differences are equal.
//
// Start with groups.go, which packs; whole.go chooses what is packed. kind.go has the columns of all kinds behind one
// type.
package column

// Version is that of the bytes which this package makes and reads. Any change of them, even one that only makes
// them shorter, needs another one: replicas compare what they made.
const Version = 1
