// Package block is the format of an immutable file that holds sealed columns of points.
//
// A block is some points of one field of one series: when, and which values. Package column makes bytes of its columns;
// this one puts them into a file with an index, so that one block, or those of a series, are found and read alone.
//
// It opens, syncs and removes no file, starts no goroutine, and merges nothing: the layers above decide which points
// are sealed, when, and when an older file goes. It knows no shards, windows or retention.
//
// # Duties of the owner of a Writer
//
//  1. Hand blocks to [Writer.Add] in order: by series, in it by field, in it by time. All replicas must cut the points
//     of a field into the same blocks, or their files differ.
//  2. Call [Writer.Finish] for the end, and name the file by the [Sum] that it returns.
//  3. Sync the file and its directory before anything depends on it.
//
// # The file
//
// All numbers are little-endian; uvarints and varints are those of package column.
//
//	header, 32 bytes
//	 0  8    "mustpnts"
//	 8  u16  format: 1
//	10  u16  version of the columns: [column.Version]
//	12  12   zero
//	24  u64  xxhash64 of bytes 0 to 23
//
//	sections, at least one unless there are no blocks; each is
//	    columns, one behind the other
//	    a page: the rows of their blocks, in order
//
//	directory
//	    uvarint number of sections, then of each
//	    uvarint length of its columns, as they stand here
//	    part    its page
//	    uvarint number of rows in the page, 1 at least
//	    uvarint length, and the series of the first row
//	    uvarint length, and its field
//
//	footer, 120 bytes
//	  0  8    "mustpend"
//	  8  u64  where the directory begins
//	 16  u32  length of the directory, as it stands here
//	 20  u32  its length unpacked, at most [DirectoryMax]
//	 24  u64  xxhash64 of the directory, as it stands here
//	 32  u64  number of blocks
//	 40  u64  number of series
//	 48  u64  number of values
//	 56  i64  first time, ns since 1970; 0 if there are no blocks
//	 64  i64  last time
//	 72  u64  length of the file
//	 80  32   sum, by which the file is named
//	112  u64  xxhash64 of bytes 0 to 111
//
//	row:
//	    uvarint how many bytes of the series are those of the row before; 0 in the first row of a page
//	    uvarint length, and the rest of the series
//	    uvarint length, and the field
//	    u8      kind, a [column.Kind]
//	    uvarint number of points
//	    varint  first time
//	    uvarint last time - first time
//	    uvarint where the times are; 0: here, in front of the values; else so many bytes before here
//	    part    the column of times
//	    part    the column of values
//
//	part, which describes bytes elsewhere in the file:
//	    uvarint length, as it stands there
//	    uvarint length unpacked; if it is larger, zstd (RFC 8878) has packed it
//	    u64     xxhash64 of the bytes, as they stand there
//
// "Here" in a row is where the columns of the row before end. A page stands behind its columns and not behind all of
// them, so that a writer holds one page, and of all others a line of the directory.
//
// Fields of a series that have the same times share one column of times: most have, since a point brings several
// fields, and times with jitter take more room than most values.
//
// # Sum
//
// The sum is the SHA-256 of the version of the columns (u16), and of each block in order: length and series, length and
// field, kind (u8), number of points, length and column of times, length and column of values, all numbers uvarints.
// The columns are those before zstd, whose output another release may change: replicas with equal columns have files
// of one name, though they may differ in length.
//
// # What is found
//
// Every byte stands under a checksum, and the sections, the directory and the footer follow each other without a gap.
// [Open] checks header, directory and footer, a [Cursor] each page and column that it reads, and [Reader.Verify] all of
// them, the order, and the sum. The [DamageError] names the place. The checksums prove nothing against people:
// somebody who can change the file can change them too. Even then no more memory is spent than the limits below allow.
//
// Start with writer.go; row.go has the rows, reader.go and cursor.go what is read and refused.
package block
