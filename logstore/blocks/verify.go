package blocks

import (
	"fmt"
	"path"

	"muster/logstore/vfs"
	"muster/shardmap/points/block"
)

// Files returns the names of the block files in a data directory, with their directories, in order of groups and sums;
// none if there is no such directory. Those that were put aside are listed by [AsideFiles].
func Files(disk vfs.FS, dir string) ([]string, error) { return filesOf(disk, dir, kindFile) }

// AsideFiles returns the names of the damaged block files that were put aside in a data directory, with their
// directories.
func AsideFiles(disk vfs.FS, dir string) ([]string, error) { return filesOf(disk, dir, kindAside) }

func filesOf(disk vfs.FS, dir string, kind nameKind) ([]string, error) {
	dir = path.Join(dir, Dir)
	folders, err := listNames(disk, dir)
	if isAbsent(err) {
		return nil, nil
	}
	var files []string
	for _, folder := range folders {
		if _, ok := parseFolder(folder); !ok {
			continue
		}
		names, err := listNames(disk, path.Join(dir, folder))
		if err != nil && !isAbsent(err) { // of a node that runs: the group was removed
			return nil, err
		}
		for _, name := range names {
			if kindOf(name) == kind {
				files = append(files, path.Join(dir, folder, name))
			}
		}
	}
	return files, err
}

// Named returns what the name of a block file, or of one that was put aside, says with its folder: all but the size. It
// reports whether it is one.
func Named(file string) (File, bool) {
	g, ok := parseFolder(path.Base(path.Dir(file)))
	sum, named := block.ParseName(path.Base(file))
	if !named {
		_, sum, named = parseAside(path.Base(file))
	}
	return File{Group: g, Sum: sum}, ok && named
}

// Look opens a block file, wherever it is, and calls look with its reader. It changes nothing. An error is a [Damaged],
// a [block.FormatError], that of look, or the disk's; what is no block file is damaged too.
func Look(disk vfs.FS, file string, look func(*block.Reader) error) error {
	f, _ := Named(file)
	in, err := openRead(disk, file)
	if err != nil {
		return err
	}
	f.Size, err = sizeOf(in)
	if err == nil {
		var r *block.Reader
		if r, err = block.Open(&tried{file: in}, f.Size); err == nil {
			err = look(r)
		}
	}
	if err != nil {
		in.Close()
		return DamageIn(file, err)
	}
	return in.Close()
}

// VerifyFile reads all of a block file, and holds its sum to its name if it has the name of one. Its errors are those of
// [Look].
func VerifyFile(disk vfs.FS, file string) (info block.Info, err error) {
	err = Look(disk, file, func(r *block.Reader) error {
		info = r.Info()
		if sum, ok := block.ParseName(path.Base(file)); ok && sum != info.Sum {
			return &block.DamageError{What: fmt.Sprintf("the footer says that it is the file %s", info.Sum)}
		}
		return r.Verify()
	})
	return info, err
}
