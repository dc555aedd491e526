// Package hints keeps the hints of a node on its disk.
//
// It does not know what a hint says, nor when it is brought to its group: package hinting decides that. It starts no
// goroutine and reads no clock. Decision 52 tells why hints are not in the log.
//
// Hints are in files of their own, in the directory hints of the data directory. A file grows at its end: one write and one sync for all
// that is handed in at once. It begins with a sector of 512 bytes, little-endian:
//
//	 0  8 B  "musthint"
//	 8  u32  format, 1
//	12  u32  CRC32C of the other bytes up to 32
//	16  u64  number of the file: 1, 2, 3, … and never again
//	24  u64  salt, random
//	32       zeros; the checksum does not cover them
//
// Writes follow, each at a multiple of 512 bytes, so that none touches a sector that was synced before. A write has records, each
// at a multiple of 8 bytes, and zeros up to its end:
//
//	 0  u32  CRC32C of bytes 4 to the end, begun from the seed of its place
//	 4  u32  length of what the hint says, in bytes
//	 8  u8   kind: 1 a hint, 2 a hint is to be forgotten
//	 9  u8   zero
//	10  u16  group
//	12  u32  where its write begins, in sectors: all before that was durable
//	16  u64  number of the hint
//	24  i64  when it was taken, ns since 1970
//	32  u64  how many points it has
//	40       what it says, and zeros up to a multiple of 8
//
// The seed of a place is the CRC32C of the salt, the file's number and the offset, eight bytes each: so nobody who chooses what
// a hint says can choose it so that it looks like a record.
//
// # Torn or damaged
//
// Bytes that are no record are damage if a later write stands behind them, or a later file: it was not begun before they were synced.
// [Store.Damages] tells of it, and what stood there is lost. If that was a record of kind 2, a hint is brought again, which
// harms nobody. In the last write of all they were never synced, as far as can be told, and nobody was told of them: the file is
// cut off there. So that is the one place where rot can't be told from a write that was not finished. A write that failed while the
// store is open is cut off before the next one.
//
// # Files go from the oldest on
//
// A file is removed once none of its hints is needed and all files before it are gone, so a hint never outlives the record of
// kind 2 that ends it. While the files have much more than is needed, the needed hints of the oldest one are written anew at
// the end, under the same numbers, so a hint that waits for long pins no file.
//
// store.go has the calls, open.go the start.
package hints
