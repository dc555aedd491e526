// Package backup is the format of a file that has what a cluster stores.
//
// That is all its keys and services, of each group as of one log id.
//
// It asks no cluster and opens no file: what is in a backup comes from package client, and what
// becomes of a file is the affair of the command.
//
// # The file
//
// All numbers are little-endian.
//
//	header, 32 bytes
//	 0  8    "mustback"
//	 8  u16  format: 1
//	10  14   zero
//	24  u64  xxhash64 of bytes 0 to 23
//
//	blocks, one behind the other, each:
//	 0  4    "blck"
//	 4  u8   kind: 1 rows, 2 the manifest, which is the last block
//	 5  u8   how the body is packed: 0 not at all, 1 zstd (RFC 8878)
//	 6  u16  group; 0 for the manifest
//	 8  u32  attempt: how many backups of the group were begun before
//	12  u32  number of the block in the file, from 0
//	16  u32  length of the body as it stands here
//	20  u32  its length unpacked, at most [BlockMax]
//	24  u64  xxhash64 of bytes 0 to 23
//	32  u64  xxhash64 of the body as it stands here
//	40       body
//
//	trailer, 32 bytes
//	 0  8    "mustend."
//	 8  u64  where the manifest begins
//	16  u64  length of the file
//	24  u64  xxhash64 of bytes 0 to 23
//
// The body of a block of rows is a msgpack array of [shardmap.BackupRow]. In the blocks of one attempt
// the rows ascend by slot, kind and name. A group of which a backup broke off, or whose slots have moved
// since, is taken again: the manifest says which attempt counts, and the blocks of all others are void.
//
// The manifest is a [Manifest] in JSON. A reader skips fields that it does not know, so a later build may
// add some. A field without which a reader can't restore the file raises the format; a reader refuses a format
// that it does not know with a [FormatError].
//
// Every bit stands under a checksum: the header, each head, each body and the trailer under their own,
// and all that stands before the manifest under the SHA-256 in it. So a change of any byte and a cut at
// any place are found, and the [DamageError] names the first place that is wrong. The checksums are no
// proof against people: whoever can change the file can change them too.
//
// Start with writer.go; reader.go has what is refused, cover.go whose slots are in a backup.
package backup
