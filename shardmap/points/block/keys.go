package block

import (
	"bytes"
	"container/list"
	"sync"
)

// Keys keeps the keys of series of files unpacked, those that were asked for last, within a number of bytes. To find the
// series of a measurement in a file, all rows of all of its blocks must be read, and some have a hundred blocks each. Files
// never change, so neither does what is kept of one. A reader that was open when its file was forgotten may have keys of it kept again;
// they go when others need their room. Any goroutine may use it.
type Keys struct {
	max int64 // bytes

	mu   sync.Mutex
	used int64                    // guarded by mu. Invariant: used <= max
	of   map[keysOf]*list.Element // guarded by mu: of all lists
	kept *list.List               // guarded by mu: of *keptKeys, the one that was asked for last in front
}

// keysOf is what a list has: the series of one measurement in one file.
type keysOf struct {
	file Sum
	name string
}

type keptKeys struct {
	id   keysOf
	list *KeyList
}

// keysShare is which part of the bytes one list may take: a longer one is read from the file each time.
const keysShare = 8

// keptBytes is what a list takes beside its keys.
const keptBytes = 256

// NewKeys returns keys of at most so many bytes.
func NewKeys(bytes int64) *Keys {
	return &Keys{max: bytes, of: map[keysOf]*list.Element{}, kept: list.New()}
}

// Forget drops the keys of a file.
func (k *Keys) Forget(file Sum) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, e := range k.of {
		if id.file == file {
			k.drop(e)
		}
	}
}

// Bytes returns how many bytes are in use.
func (k *Keys) Bytes() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.used
}

// drop drops a list. mu is held.
func (k *Keys) drop(e *list.Element) {
	x := k.kept.Remove(e).(*keptKeys)
	delete(k.of, x.id)
	k.used -= x.bytes()
}

func (x *keptKeys) bytes() int64 {
	return keptBytes + int64(len(x.id.name)) + x.list.bytes()
}

func (k *Keys) find(id keysOf) *KeyList {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.of[id]
	if e == nil {
		return nil
	}
	k.kept.MoveToFront(e)
	return e.Value.(*keptKeys).list
}

// add keeps a list. Those that nobody has asked for the longest make room.
func (k *Keys) add(id keysOf, l *KeyList) {
	x := &keptKeys{id, l}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of[id] != nil || x.bytes() > k.max {
		return
	}
	for k.used+x.bytes() > k.max {
		k.drop(k.kept.Back())
	}
	k.used += x.bytes()
	k.of[id] = k.kept.PushFront(x)
}

// KeyList is keys of series in order, each once. It does not change.
type KeyList struct {
	text []byte // one behind the other
	ends []uint32
	long bool // there are more than may be kept
}

// Len returns how many keys there are.
func (l *KeyList) Len() int { return len(l.ends) }

// At returns the i-th key, which is not to be changed.
func (l *KeyList) At(i int) []byte {
	from := uint32(0)
	if i > 0 {
		from = l.ends[i-1]
	}
	return l.text[from:l.ends[i]:l.ends[i]]
}

func (l *KeyList) bytes() int64 { return int64(cap(l.text)) + 4*int64(cap(l.ends)) }

// add adds a key, which may be the one before.
func (l *KeyList) add(key []byte) {
	if n := len(l.ends); n == 0 || !bytes.Equal(l.At(n-1), key) {
		l.text = append(l.text, key...)
		l.ends = append(l.ends, uint32(len(l.text)))
	}
}

// KeepKeys has the reader keep keys of series. It is called before any other goroutine has the reader.
func (x *Reader) KeepKeys(k *Keys) { x.keys = k }

// Measurement is cursors over the blocks of the series whose key is a name, or begins with it and a comma, in order.
func (x *Reader) Measurement(name []byte) []*Cursor {
	// Series of other measurements may stand between the one that has no tags and those that have.
	end := append(bytes.Clone(name), 0)
	return []*Cursor{x.Range(name, end), x.Prefix(append(bytes.Clone(name), ','))}
}

// Keys returns the keys of the series of [Reader.Measurement]; nil: nobody keeps them, or there are too many, and
// cursors must find them.
func (x *Reader) Keys(name []byte) (*KeyList, error) {
	if x.keys == nil {
		return nil, nil
	}
	id := keysOf{x.info.Sum, string(name)}
	l := x.keys.find(id)
	if l == nil {
		l = &KeyList{}
		for _, c := range x.Measurement(name) {
			for !l.long && c.Next() {
				l.add(c.Row().Series)
				l.long = l.bytes() > x.keys.max/keysShare
			}
			if c.Err() != nil {
				return nil, c.Err()
			}
		}
		if l.long { // the next query is spared the attempt
			l.text, l.ends = nil, nil
		}
		l.text, l.ends = bytes.Clone(l.text), append([]uint32(nil), l.ends...) // without free room
		x.keys.add(id, l)
	}
	if l.long {
		return nil, nil
	}
	return l, nil
}
