package statement

import (
	"encoding/binary"
	"fmt"

	"muster/shardmap/pack"
	"muster/shardmap/points"
	"muster/shardmap/points/query"
)

// What is what a [Request] asks of a shard. Its numbers are on the wire: one that is retired keeps its line.
type What byte

// The things that a shard can be asked for.
const (
	Measurements What = 1
	SeriesKeys   What = 2
	SeriesHashes What = 3 // of the keys, to count them: of a million some two in ten million times two are alike
	TagKeys      What = 4
	TagValues    What = 5
	FieldKeys    What = 6
)

// Version is that of the bytes of a [Request] and an [Answer].
const Version = 1

// The limits of what is read.
const (
	// RequestMax bounds the bytes of a [Request].
	RequestMax = 1 << 20
	// AnswerMax bounds the bytes of an [Answer].
	AnswerMax = 256 << 20
	// SourcesMax bounds the measurements and the expressions of a request.
	SourcesMax = 4096
)

// Request is what a [Listing] or a [Deletion] asks of each shard, in msgpack:
//
//	[version, what, [measurement, …], [expression, …], condition, keys]
type Request struct {
	What What
	// Measurements are names, which grow, and Expressions regular ones, one of which matches a part of a name. With
	// neither all measurements are meant.
	Measurements, Expressions []string
	Condition                 string // of InfluxQL, on the tags of series; "": none
	Keys                      string // the same on names of tags, which stand for _tagKey; "": all of them
}

const (
	requestFields = 6
	answerFields  = 2
	groupFields   = 3
)

// Append appends the bytes of the request.
func (r *Request) Append(b []byte) []byte {
	b = pack.AppendUint(pack.AppendUint(pack.AppendArray(b, requestFields), Version), uint64(r.What))
	for _, list := range [][]string{r.Measurements, r.Expressions} {
		b = pack.AppendArray(b, len(list))
		for _, s := range list {
			b = pack.AppendString(b, s)
		}
	}
	return pack.AppendString(pack.AppendString(b, r.Condition), r.Keys)
}

// ReadRequest reads the bytes of a request. It refuses conditions that no [Listing] makes.
func ReadRequest(b []byte) (*Request, error) {
	if len(b) > RequestMax {
		return nil, &query.LimitError{What: "bytes", Got: int64(len(b)), Max: RequestMax, Remedy: "name fewer measurements"}
	}
	in := pack.NewReader(b)
	in.ArrayLen(requestFields)
	version(&in)
	r := &Request{What: What(in.UintMax(uint64(FieldKeys)))}
	if r.What == 0 {
		in.Fail("it asks for nothing")
	}
	for _, list := range []*[]string{&r.Measurements, &r.Expressions} {
		n := in.Array()
		if n > SourcesMax {
			in.Fail(fmt.Sprintf("%d measurements, at most %d may be named", n, SourcesMax))
			n = 0
		}
		for range n {
			s := in.String()
			if m := len(*list); list == &r.Measurements && m > 0 && s <= (*list)[m-1] {
				in.Fail("measurements are not in order")
			}
			*list = append(*list, s)
		}
	}
	r.Condition, r.Keys = in.String(), in.String()
	if err := in.Done(); err != nil {
		return nil, err
	}
	if err := query.BoundExpressions(r.Expressions); err != nil {
		return nil, err
	}
	for _, c := range []string{r.Condition, r.Keys} {
		if c == "" {
			continue
		}
		// The parser recurses; its bounds are those of a query.
		if _, err := query.Parse("SELECT v FROM m WHERE "+c, nil); err != nil {
			return nil, err
		}
		if _, err := parseCondition(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func version(in *pack.Reader) {
	if v := in.Uint(); v != Version && in.Err() == nil {
		in.Fail(fmt.Sprintf("it is of version %d, known is %d", v, Version))
	}
}

// Append appends the bytes of the answer, in msgpack, the hashes eight bytes each, the lowest first:
//
//	[version, [[measurement, [a, b, a, b, …], hashes], …]]
func (a *Answer) Append(b []byte) []byte {
	b = pack.AppendArray(pack.AppendUint(pack.AppendArray(b, answerFields), Version), len(a.Groups))
	for _, g := range a.Groups {
		b = pack.AppendString(pack.AppendArray(b, groupFields), g.Measurement)
		b = pack.AppendArray(b, 2*len(g.Pairs))
		for _, p := range g.Pairs {
			b = pack.AppendString(pack.AppendString(b, p.A), p.B)
		}
		b = pack.AppendBytesHead(b, 8*len(g.Hashes))
		for _, h := range g.Hashes {
			b = binary.LittleEndian.AppendUint64(b, h)
		}
	}
	return b
}

// ReadAnswer reads the bytes of an answer, which takes at most memory bytes then.
func ReadAnswer(b []byte, memory int64) (*Answer, error) {
	if len(b) > AnswerMax {
		return nil, &query.LimitError{What: "bytes of one shard's answer", Got: int64(len(b)), Max: AnswerMax, Remedy: "name measurements, or a condition on tags"}
	}
	in := pack.NewReader(b)
	in.ArrayLen(answerFields)
	version(&in)
	a := &Answer{}
	spend := func(n int) {
		if memory -= int64(n); memory < 0 {
			in.Fail("it needs more memory than it was given")
		}
	}
	for n := in.Array(); n > 0 && in.Err() == nil; n-- {
		in.ArrayLen(groupFields)
		g := Group{Measurement: in.String()}
		spend(len(g.Measurement) + pairBytes)
		if m := len(a.Groups); m > 0 && g.Measurement <= a.Groups[m-1].Measurement || len(g.Measurement) > points.KeyMax {
			in.Fail("measurements are not in order")
		}
		pairs := in.Array()
		if pairs%2 != 0 {
			in.Fail("a pair is half")
		}
		for ; pairs > 1 && in.Err() == nil; pairs -= 2 {
			p := Pair{in.String(), in.String()}
			spend(len(p.A) + len(p.B) + pairBytes)
			if m := len(g.Pairs); m > 0 && g.Pairs[m-1].compare(p) >= 0 {
				in.Fail("a list is not in order")
			}
			g.Pairs = append(g.Pairs, p)
		}
		hashes := in.Bytes()
		spend(len(hashes))
		if len(hashes)%8 != 0 {
			in.Fail("a hash is cut off")
		}
		for ; len(hashes) >= 8 && in.Err() == nil; hashes = hashes[8:] {
			h := binary.LittleEndian.Uint64(hashes)
			if m := len(g.Hashes); m > 0 && g.Hashes[m-1] >= h {
				in.Fail("hashes are not in order")
			}
			g.Hashes = append(g.Hashes, h)
		}
		a.Groups = append(a.Groups, g)
	}
	if memory < 0 {
		return nil, &query.LimitError{What: "bytes of memory than it was given", Remedy: "name measurements, or a condition on tags"}
	}
	if err := in.Done(); err != nil {
		return nil, err
	}
	return a, nil
}

// Size returns what the answer takes in memory, in bytes, as [ReadAnswer] counts it.
func (a *Answer) Size() (n int64) {
	for i := range a.Groups {
		g := &a.Groups[i]
		n += int64(len(g.Measurement) + pairBytes + 8*len(g.Hashes))
		for _, p := range g.Pairs {
			n += int64(len(p.A) + len(p.B) + pairBytes)
		}
	}
	return n
}
