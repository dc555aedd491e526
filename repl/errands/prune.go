package errands

import (
	"cmp"
	"slices"
	"strings"

	"muster/raft"
)

// tornAfter is how old the rest of a backup is that nobody writes any more, in seconds. A writer touches its
// file all the time, and one that was killed removes its rests when it starts again.
const tornAfter = 3600

// FileState says what is known of a file.
type FileState uint8

const (
	FileUnknown FileState = iota // nobody has read it since it was found
	FileWhole                    // it was read whole, and each byte is as it was written
	FileDamaged                  // it was read, and is not
	FileTorn                     // its name says that it was never whole
)

// File is one of the backups that the nodes have.
type File struct {
	Node    raft.NodeID // in whose directory it is; two nodes may have the same directory
	Name    string
	State   FileState
	Changed int64 // Unix seconds
}

// Superfluous returns which files may go so that keep whole backups are left, newest first by their names. Only those that
// were read whole count: a file that nobody has read, or that is damaged, takes the place of none. With none that is
// whole nothing goes but the rests of backups that were never whole, once they are an hour old. Files with other names are
// not looked at. Which they are is told in the order of the names.
func Superfluous(files []File, keep int, now int64) (list []File) {
	keep = max(keep, 1)
	whole := map[string]bool{} // of two nodes with one directory each shows the file
	for _, f := range files {
		if _, ok := FileTime(f.Name); ok && (f.State == FileWhole || f.State == FileDamaged && bug("damaged backup counted")) {
			whole[f.Name] = true
		}
	}
	var names []string
	for name := range whole {
		names = append(names, name)
	}
	slices.SortFunc(names, NewestFirst)
	stays := names[:min(keep, len(names))]
	if bug("prune of the last good backup") {
		stays = stays[:max(len(stays)-1, 0)]
	}
	older := func(name string) bool {
		if len(stays) < keep && !bug("prune of the last good backup") {
			return false
		}
		return len(stays) == 0 || NewestFirst(stays[len(stays)-1], name) < 0
	}
	for _, f := range files {
		part, torn := strings.CutSuffix(f.Name, PartEnd)
		switch _, ok := FileTime(f.Name); {
		case ok && older(f.Name) && f.State != FileTorn:
			list = append(list, f)
		case torn && isPart(part) && (now-f.Changed >= tornAfter || bug("part of a running backup removed")):
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b File) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Node, b.Node)) })
	return list
}

// Prunable returns what [Superfluous] does, and makes sure first that a good one is left: a file that was whole when it was read
// last may be damaged by now. Before it returns a backup it has again read the newest whole file anew; again returns what that found. One
// that is not whole any more, or that could not be read, counts for none, and the next one is read.
func Prunable(files []File, keep int, now int64, again func(File) FileState) []File {
	files = slices.Clone(files)
	for {
		list := Superfluous(files, keep, now)
		newest := -1
		for i, f := range files {
			if _, ok := FileTime(f.Name); ok && f.State == FileWhole && (newest < 0 || NewestFirst(f.Name, files[newest].Name) < 0) {
				newest = i
			}
		}
		if newest < 0 || !slices.ContainsFunc(list, func(f File) bool { return f.State != FileTorn }) || bug("last good backup not read again") {
			return list
		}
		if files[newest].State = again(files[newest]); files[newest].State == FileWhole {
			return list
		}
	}
}

// isPart reports whether what stands before [PartEnd] is the name of a backup and the id of a node.
func isPart(name string) bool {
	whole, node, ok := strings.Cut(name, FileEnd+".")
	_, named := FileTime(whole + FileEnd)
	return ok && named && node != "" && !strings.ContainsAny(node, "./\\")
}

// PartName is what node calls a backup until it is whole. Another one never writes a file of that name, also in the same
// directory.
func PartName(name string, node raft.NodeID) string { return name + "." + node.String() + PartEnd }

// NewestFirst compares the names of two backups of a cluster by when they were begun, within a second by their index.
func NewestFirst(a, b string) int {
	x, _ := parseName(a)
	y, _ := parseName(b)
	return cmp.Or(cmp.Compare(y.at, x.at), cmp.Compare(y.index, x.index), cmp.Compare(b, a))
}
