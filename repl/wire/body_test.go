package wire_test

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
	"muster/shardmap/registry"
)

// library encodes v as msgpack v5 does, structs as arrays.
func library(t *rapid.T, v any) []byte {
	var out bytes.Buffer
	e := msgpack.NewEncoder(&out)
	e.UseCompactInts(true)
	e.UseArrayEncodedStructs(true)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// filled makes every nil slice of v an empty one: what is nil to Go is an empty
// list on the wire.
func filled(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		filled(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			filled(v.Field(i))
		}
	case reflect.Slice:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			filled(v.Index(i))
		}
	}
}

// drawn makes v anything that its type can hold.
func drawn(t *rapid.T, name string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, name))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n := rapid.Uint64().Draw(t, name) >> rapid.IntRange(0, 63).Draw(t, name+" shift") // short ones, and long ones
		v.SetUint(n & (math.MaxUint64 >> (64 - v.Type().Bits())))
	case reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, name) >> rapid.IntRange(0, 63).Draw(t, name+" shift"))
	case reflect.String:
		v.SetString(rapid.String().Draw(t, name))
	case reflect.Struct:
		for i := range v.NumField() {
			drawn(t, name+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			drawn(t, fmt.Sprintf("%s[%d]", name, i), v.Index(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 4).Draw(t, name+" length"), 4))
		for i := range v.Len() {
			drawn(t, fmt.Sprintf("%s[%d]", name, i), v.Index(i))
		}
	default:
		t.Fatalf("%s is a %s, which no body has", name, v.Type())
	}
}

// madeGood are the bodies that not everything drawn is one of, and how to make
// one of it.
var madeGood = map[wire.Type]func(b wire.Body){
	wire.TypeProof:   func(b wire.Body) { proofDrawn(&b.(*wire.Proof).Proof) },
	wire.TypeWelcome: func(b wire.Body) { proofDrawn(&b.(*wire.Welcome).Proof) },
	wire.TypeRepair:  func(b wire.Body) { inOrder(b.(*wire.Repair)) },
	wire.TypeLifeQuestion: func(b wire.Body) {
		q := b.(*wire.LifeQuestion)
		q.Standing %= 3
		q.Lives = append(q.Lives, wire.LifeLink{})[:min(len(q.Lives)+1, wire.LivesMax)]
		for i := range q.Lives {
			q.Lives[i].Number, q.Lives[i].Mark = uint64(i+1)<<(q.Number%50), q.Lives[i].Mark|1
		}
	},
	wire.TypeLifeAnswer: func(b wire.Body) { b.(*wire.LifeAnswer).Verdict %= 6 },
	wire.TypeWindowAnswer: func(b wire.Body) {
		a := b.(*wire.WindowAnswer)
		a.Shards = append(a.Shards, 1)
		for i := range a.Shards {
			a.Shards[i] = 1 + a.Shards[i]%raft.GroupMax
		}
		a.Start &= math.MaxInt64 >> 1
		a.Truncated = a.Start + a.Truncated&1
		a.End = a.Start + 1 + a.End&(math.MaxInt64>>2)
	},
	wire.TypeChecks: func(b wire.Body) {
		for i := range b.(*wire.Checks).Groups {
			g := &b.(*wire.Checks).Groups[i]
			g.Group %= raft.GroupMax + 1
			g.Since >>= 1
			g.Begin = g.Since / 2
			for j := range g.Rows {
				g.Rows[j].Number = g.Since + 1 + uint64(j)
			}
			g.Until = g.Since + uint64(len(g.Rows))
		}
	},
	wire.TypeAuditReport: func(b wire.Body) {
		r := b.(*wire.AuditReport)
		r.Group, r.From, r.To, r.At = r.Group%(raft.GroupMax+1), r.From|1, r.To&^1|2, raft.LogID{Term: r.At.Term | 1, Index: r.At.Index | 1}
		for i := range r.Rows {
			r.Rows[i].Part = uint32(i)<<20 | r.Rows[i].Part>>12
		}
	},
	wire.TypeAuditVerdict: func(b wire.Body) {
		v := b.(*wire.AuditVerdict)
		v.Group, v.From, v.To, v.At = v.Group%(raft.GroupMax+1), v.From|1, v.To&^1|2, raft.LogID{Term: v.At.Term | 1, Index: v.At.Index | 1}
		v.Term = max(v.Term, v.At.Term)
		if v.Kind = 1 + v.Kind%4; v.Kind != wire.VerdictDiffers {
			v.Sources = nil
		}
		partsDrawn(v.Parts)
	},
	wire.TypeCheck: func(b wire.Body) {
		c := b.(*wire.Check)
		for i, g := range c.Groups {
			c.Groups[i] = raft.GroupID(1000*i) + g%1000
		}
		c.Trust = c.Trust && !c.Act && len(c.Groups) > 0
	},
	wire.TypeCheckAnswer: func(b wire.Body) {
		for i := range b.(*wire.CheckAnswer).Groups {
			g := &b.(*wire.CheckAnswer).Groups[i]
			g.Group %= raft.GroupMax + 1
			for j := range g.Replicas {
				partsDrawn(g.Replicas[j].Parts)
			}
		}
	},
	wire.TypeBlockRange: func(b wire.Body) {
		q := b.(*wire.BlockRange)
		q.Group, q.Most = q.Group%(raft.GroupMax+1), 1+q.Most%wire.ChunkBytesMax
	},
	wire.TypeBlockRangeAnswer: func(b wire.Body) {
		a := b.(*wire.BlockRangeAnswer)
		a.State = wire.BlockHere
		a.Size = max(a.Size, uint64(len(a.Data)))
		a.Offset = min(a.Offset, a.Size-uint64(len(a.Data)))
	},
	wire.TypePointsQuery: func(b wire.Body) {
		q := b.(*wire.PointsQuery)
		q.Mode, q.Group = q.Mode%(wire.ReadFollower+1), q.Group%(raft.GroupMax+1)
		q.Database, q.Window, q.Shard = fmt.Sprintf("d%.20x", q.Database), q.Window|1, q.Shard%shardmap.WindowShardsMax
		q.Ask = wire.PointsOutline + q.Ask%3
		q.Memory, q.Series = 1+q.Memory%wire.PointsQueryMemoryMax, 1+q.Series%wire.PointsQuerySeriesMax // 0 is read as the most
		q.Time, q.Query = 1+q.Time%wire.PointsQueryTimeMax, q.Query%(wire.PointsQueryIDMax+1)
	},
	wire.TypeQueries: func(b wire.Body) {
		q := b.(*wire.Queries)
		q.Action, q.Query = wire.QueriesRun, 1+q.Query%wire.PointsQueryIDMax
		q.Database, q.Text = fmt.Sprintf("%.20x", q.Database), fmt.Sprintf("%.200x", q.Text)
	},
	wire.TypeChunkAnswer: func(b wire.Body) { b.(*wire.ChunkAnswer).State = wire.ChunkTaken },
	wire.TypeInvite: func(b wire.Body) {
		i := b.(*wire.Invite)
		i.ClusterID |= 1
		i.Members = append(i.Members, wire.NodeAddr{Node: n1})
		addrsDrawn(i.Members)
	},
	wire.TypeJoinAnswer: func(b wire.Body) {
		a := b.(*wire.JoinAnswer)
		addrsDrawn(a.Members)
		a.Roots = certificatesDrawn(a.Roots)
	},
	wire.TypeChange: func(b wire.Body) {
		c := b.(*wire.Change)
		c.Group, c.After = c.Group%(raft.GroupMax+1), c.After|1
		c.Remove = append(c.Remove, 1)
	},
	wire.TypeSlotView: func(b wire.Body) {
		v := b.(*wire.SlotView)
		v.Group %= raft.GroupMax + 1
		for i := range v.Slots {
			v.Slots[i] = shardmap.SlotRange{From: shardmap.Slot(100 * i), To: shardmap.Slot(100*i) + v.Slots[i].To%100}
		}
		if len(v.Slots) == 0 {
			v.Slots = []shardmap.SlotRange{{From: 4095, To: 4095}}
		}
	},
	wire.TypeHistory: func(b wire.Body) {
		h := b.(*wire.History)
		h.Mode, h.Group = h.Mode%(wire.ReadFollower+1), h.Group%(raft.GroupMax+1)
		h.Limit, h.MaxBytes = 1+h.Limit%wire.HistoryRowsMax, 1+h.MaxBytes%wire.HistoryBytesMax
		h.Key = append(h.Key, 'x')[:min(len(h.Key)+1, shardmap.KeyMax)]
	},
	wire.TypeLeases: func(b wire.Body) {
		l := b.(*wire.Leases)
		l.Group, l.Limit = l.Group%(raft.GroupMax+1), 1+l.Limit%wire.LeasesMax
		l.Slots = []shardmap.SlotRange{{From: 0, To: 77}, {From: 80, To: 4095}}[:1+len(l.Slots)%2]
	},
	wire.TypeServices: func(b wire.Body) {
		q := b.(*wire.Services)
		q.Group, q.Limit, q.Mode = q.Group%(raft.GroupMax+1), 1+q.Limit%wire.ServicesBytesMax, q.Mode%(wire.ReadBounded+1)
		q.After = q.After[:min(len(q.After), registry.NameMax)]
		if q.AfterSlot %= shardmap.Slots; q.Mode != wire.ReadBounded {
			q.Stale = 0
		}
		if q.Slots = []shardmap.SlotRange{{From: 0, To: 77}, {From: 80, To: 4095}}[:1+len(q.Slots)%2]; q.Exact {
			q.After = append(q.After, 'x')[len(q.After)/registry.NameMax:]
			q.AfterSlot = shardmap.SlotOf(q.After)
			q.Slots = []shardmap.SlotRange{{From: q.AfterSlot, To: q.AfterSlot}}
		}
	},
	wire.TypeServicesAnswer: func(b wire.Body) {
		for i := range b.(*wire.ServicesAnswer).Rows {
			row := &b.(*wire.ServicesAnswer).Rows[i]
			row.Name, row.Value = append([]byte("x"), row.Name[:min(len(row.Name), registry.NameMax-1)]...), append(row.Value, 0)
		}
		for i := range b.(*wire.ServicesAnswer).Checkers {
			c := &b.(*wire.ServicesAnswer).Checkers[i]
			c.Instance, c.Node = "x"+c.Instance[:min(len(c.Instance), registry.IDMax-1)], c.Node|1
		}
	},
	wire.TypeHeartbeat: func(b wire.Body) {
		h := b.(*wire.Heartbeat)
		h.Group, h.Status = h.Group%(raft.GroupMax+1), wire.HeartbeatUp+h.Status%2
		h.Name, h.Instance, h.Note = "x"+h.Name[:min(len(h.Name), registry.NameMax-1)], "x"+h.Instance[:min(len(h.Instance), registry.IDMax-1)], h.Note[:min(len(h.Note), registry.ReasonMax)]
	},
	wire.TypeTableStream: func(b wire.Body) {
		s := b.(*wire.TableStream)
		s.Window, s.PieceBytes = s.Window%(wire.StreamWindowMax+1), wire.StreamPieceMin+s.PieceBytes%(wire.StreamPieceMax-wire.StreamPieceMin+1)
	},
	wire.TypeBackup: func(b wire.Body) {
		q := b.(*wire.Backup)
		q.Group %= raft.GroupMax + 1
		q.Window, q.PieceBytes = q.Window%(wire.StreamWindowMax+1), wire.BackupPieceMin+q.PieceBytes%(wire.StreamPieceMax-wire.BackupPieceMin+1)
	},
	wire.TypeOrder: func(b wire.Body) {
		o := b.(*wire.Order)
		o.Command = append(o.Command, 0)
	},
	wire.TypeAddNodes: func(b wire.Body) {
		a := b.(*wire.AddNodes)
		a.Hosts = append(a.Hosts, "")
		for i, host := range a.Hosts {
			a.Hosts[i] = addrDrawn(host)
		}
	},
	wire.TypeEnrol: func(b wire.Body) {
		e := b.(*wire.Enrol)
		e.Node, e.Request, e.Signature = e.Node|1, append(e.Request, 0), bytes.Repeat([]byte{7}, wire.SignatureSize)
	},
	wire.TypeEnrolAnswer: func(b wire.Body) {
		a := b.(*wire.EnrolAnswer)
		a.Certificate, a.Roots = append(a.Certificate, 0), certificatesDrawn(a.Roots)
	},
	wire.TypeRenew: func(b wire.Body) {
		r := b.(*wire.Renew)
		r.User, r.Request = fmt.Sprintf("%.20x", r.User), append(r.Request, 0)
	},
	wire.TypeRenewAnswer: func(b wire.Body) {
		a := b.(*wire.RenewAnswer)
		a.Certificate, a.Roots = append(a.Certificate, 0), certificatesDrawn(a.Roots)
	},
	wire.TypeLogin: func(b wire.Body) {
		l := b.(*wire.Login)
		l.Name, l.Password, l.Request = fmt.Sprintf("n%.20x", l.Name), append(l.Password, 0), append(l.Request, 0)
	},
	wire.TypeLoginAnswer: func(b wire.Body) {
		a := b.(*wire.LoginAnswer)
		a.Certificate, a.Roots = append(a.Certificate, 0), certificatesDrawn(a.Roots)
	},
	wire.TypeCanI: func(b wire.Body) {
		q := b.(*wire.CanI)
		q.User, q.Verbs, q.Kind = fmt.Sprintf("%.20x", q.User), 1+q.Verbs%access.All, 1+q.Kind%3
	},
	wire.TypeHint: func(b wire.Body) {
		h := b.(*wire.Hint)
		h.Where, h.Group, h.Points = wire.HintHere+h.Where%3, 1+h.Group%raft.GroupMax, append(h.Points, 1)
	},
	wire.TypeHints: func(b wire.Body) {
		q := b.(*wire.Hints)
		if q.Act, q.Group = wire.HintsList+q.Act%3, 1+q.Group%raft.GroupMax; q.All {
			q.Group = 0
		}
	},
	wire.TypeDurable: func(b wire.Body) {
		q := b.(*wire.Durable)
		q.Group = 1 + q.Group%raft.GroupMax
	},
	wire.TypeBackups: func(b wire.Body) {
		q := b.(*wire.Backups)
		for i := range q.Remove {
			q.Remove[i] = fmt.Sprintf("f%.20x", q.Remove[i])
		}
		for i := range q.Only {
			q.Only[i] = fmt.Sprintf("f%.20x", q.Only[i])
		}
	},
	wire.TypeUsage: func(b wire.Body) {
		u := b.(*wire.Usage)
		u.Limits = limitsDrawn(u.Limits)
		if u.Term, u.Round = u.Term|1, u.Round|1; len(u.Orders) > 1 {
			u.Orders = u.Orders[:1]
		}
		for i := range u.Orders {
			u.Orders[i].Group = 1 + u.Orders[i].Group%9999
			u.Orders[i].Given = make([]wire.UsageAmount, len(u.Limits))
		}
	},
	wire.TypeUsageAnswer: func(b wire.Body) {
		a := b.(*wire.UsageAnswer)
		if a.Limits = limitsDrawn(a.Limits); len(a.Reports) > 1 {
			a.Reports = a.Reports[:1]
		}
		for i := range a.Reports {
			a.Reports[i].Group = 1 + a.Reports[i].Group%9999
		}
	},
	wire.TypeReset: func(b wire.Body) {
		q := b.(*wire.Reset)
		q.User, q.Request, q.Proof = "u"+fmt.Sprintf("%.20x", q.User), append(q.Request, 0), make([]byte, wire.ResetProofSize)
	},
	wire.TypeResetAnswer: func(b wire.Body) {
		a := b.(*wire.ResetAnswer)
		a.Certificate, a.Roots = append(a.Certificate, 0), certificatesDrawn(a.Roots)
	},
	wire.TypeKeep:       func(b wire.Body) { wrapKeyDrawn(&b.(*wire.Keep).Key) },
	wire.TypeKeepAnswer: func(b wire.Body) { wrapKeyDrawn(&b.(*wire.KeepAnswer).Key) },
	wire.TypeAuthority: func(b wire.Body) {
		a := b.(*wire.Authority)
		if a.Action = 1 + a.Action%3; a.Action == wire.AuthorityRetire {
			a.Root[0] |= 1
		} else {
			a.Root = wire.RootHash{}
		}
	},
	wire.TypeTrail: func(b wire.Body) {
		q := b.(*wire.Trail)
		if q.Offset %= 1 << 62; q.Offset%2 == 0 {
			q.File, q.Offset, q.Last = 0, 0, q.Last%(wire.TrailLastMax+1)
		} else {
			q.Last = 0
		}
	},
	wire.TypeLogRange: func(b wire.Body) {
		r := b.(*wire.LogRange)
		r.From, r.To = min(r.From, r.To), max(r.From, r.To)
	},
}

// certificatesDrawn makes of anything drawn certificates, one at least.
func certificatesDrawn(all [][]byte) [][]byte {
	all = append(all, nil)
	for i := range all {
		all[i] = append(all[i], 0)
	}
	return all
}

// wrapKeyDrawn makes of anything drawn a key, or none.
func wrapKeyDrawn(b *[]byte) {
	if len(*b) > 0 {
		*b = bytes.Repeat(*b, wire.WrapKeySize)[:wire.WrapKeySize]
	}
}

// partsDrawn makes of anything drawn parts in order.
func partsDrawn(parts []uint32) {
	for i := range parts {
		parts[i] = uint32(i)<<20 | parts[i]>>12
	}
}

// addrDrawn makes of anything drawn what can stand for an address.
func addrDrawn(s string) string { return fmt.Sprintf("%.40x:4166", s) }

func addrsDrawn(nodes []wire.NodeAddr) {
	for i := range nodes {
		nodes[i].Addr = addrDrawn(nodes[i].Addr)
	}
}

// proofDrawn makes of anything drawn a proof, or none.
func proofDrawn(b *[]byte) {
	if len(*b) > 0 {
		*b = bytes.Repeat(*b, wire.ProofSize)[:wire.ProofSize]
	}
}

// Every body that says its fields is the bytes that a library makes of the struct,
// comes back equal, and can be read by the library: that is all that somebody who
// writes a client has to go by.
func TestBodiesAreTheLibrarysBytes(t *testing.T) {
	for _, typ := range wire.Types() {
		kind, ok := wire.FieldsBody(typ)
		if _, isError := kind.(error); !ok || isError { // the library writes an error as its text; see errorMirror
			continue
		}
		of := reflect.TypeOf(kind).Elem()
		fresh := func() (wire.Body, reflect.Value) {
			v := reflect.New(of)
			return v.Interface().(wire.Body), v
		}
		t.Run(typ.String(), rapid.MakeCheck(func(t *rapid.T) {
			body, v := fresh()
			drawn(t, typ.String(), v.Elem())
			if good := madeGood[typ]; good != nil {
				good(body)
			}
			filled(v)
			mine := body.Append(nil)
			if theirs := library(t, body); !bytes.Equal(mine, theirs) {
				t.Fatalf("got  % x\nwant % x", mine, theirs)
			}
			back, backValue := fresh()
			if err := back.Read(mine); err != nil {
				t.Fatal(err)
			}
			filled(backValue)
			if !reflect.DeepEqual(back, body) {
				t.Fatalf("got %+v, want %+v", back, body)
			}
			read, readValue := fresh()
			if err := msgpack.Unmarshal(mine, read); err != nil {
				t.Fatal(err)
			}
			filled(readValue)
			if !reflect.DeepEqual(read, body) {
				t.Fatalf("the library reads %+v, want %+v", read, body)
			}
		}))
	}
}

// inOrder makes of anything drawn a Repair whose spans are in order.
func inOrder(r *wire.Repair) {
	r.Wanted = r.Wanted[:min(len(r.Wanted), wire.RepairSpansMax)]
	next := uint64(1)
	for i := range r.Wanted {
		s := &r.Wanted[i]
		s.First = next + s.First%1000
		s.Last = s.First + s.Last%1000
		next = s.Last + 1
	}
}

// mirrors of the bodies whose structs are not laid out as their bytes are.
type (
	errorMirror struct {
		Code                                  uint16
		Text, Object, State, Next, LeaderAddr string
		LeaderNode, Epoch, RetryAfterMs       uint64
		Group, Number, Slot                   uint64
	}
	writeAnswerMirror struct{ Group, Term, Index, Version, Deleted uint64 }
	getMirror         struct {
		Mode, Group, Term, Index uint64
		Keys                     [][]byte
	}
	listMirror struct {
		Mode, Group, Epoch uint64
		Prefix, After      []byte
		Limit, MaxBytes    uint64
		KeysOnly           bool
		Term, Index        uint64
	}
	foundMirror struct {
		Version uint64
		Value   []byte
	}
	getAnswerMirror struct {
		Group, Term, Index uint64
		Rows               []*foundMirror
	}
	endingAnswerMirror struct { // some of its keys end
		Group, Term, Index uint64
		Rows               []*foundMirror
		Ends               []*endMirror
	}
	endMirror struct {
		Remaining, Lease uint64
	}
	listRowMirror struct {
		Key     []byte
		Version uint64
		Value   []byte
	}
	listAnswerMirror struct {
		Group, Term, Index uint64
		More               bool
		Rows               []listRowMirror
	}
	envelopeMirror struct {
		Group, Incarnation, From, To, Term, LogTerm, LogIndex, Commit uint64
		Reject                                                        bool
		ConflictTerm, ConflictIndex, Round, Mark, Batch, Count        uint64
		Entries                                                       []byte
	}
	beatRowMirror struct{ Group, Incarnation, From, To, Term, Commit, Round, Time uint64 }
	beatMirror    struct {
		Mark, Batch, Sequence, Fullness uint64
		Rows                            []beatRowMirror
		Rests                           []restMirror
	}
	restMirror          struct{ Group, Incarnation, Leader, Term, Time uint64 }
	beatAnswerRowMirror struct {
		Group, Incarnation, From, To, Term, Round uint64
		Reject                                    bool
	}
	beatAnswerMirror struct {
		Mark, Batch, Sequence, Fullness uint64
		Rows                            []beatAnswerRowMirror
	}
)

// The bodies written by hand are the same bytes too, and come back equal.
func TestHotBodiesAreTheLibrarysBytes(t *testing.T) {
	group := rapid.Uint64Range(0, uint64(raft.GroupMax))
	key := rapid.SliceOfN(rapid.Byte(), 1, 40)
	number := rapid.Custom(func(t *rapid.T) uint64 {
		return rapid.Uint64().Draw(t, "bits") >> rapid.IntRange(0, 63).Draw(t, "shift")
	})
	equal := func(t *rapid.T, mine []byte, mirror any) {
		if theirs := library(t, mirror); !bytes.Equal(mine, theirs) {
			t.Fatalf("%T: got  % x\nwant % x", mirror, mine, theirs)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		g, n := group.Draw(t, "group"), rapid.SliceOfN(number, 9, 9).Draw(t, "numbers")
		id := raft.LogID{Term: n[0], Index: n[1]}

		e := wire.Error{Code: wire.Code(n[0] & 0xffff), Text: "t", Object: "o", State: "s", Next: rapid.String().Draw(t, "next"),
			LeaderAddr: "a", LeaderNode: raft.NodeID(n[1]), Epoch: n[2], RetryAfterMs: uint32(n[3]),
			Group: raft.GroupID(g), Number: n[4], Slot: shardmap.Slot(n[5] & 0xfff)}
		equal(t, e.Append(nil), &errorMirror{uint16(e.Code), "t", "o", "s", e.Next, "a", n[1], n[2], uint64(e.RetryAfterMs), g, n[4], n[5] & 0xfff})

		answer := wire.WriteAnswer{Group: raft.GroupID(g), ID: id, Version: n[2], Deleted: n[3]}
		equal(t, answer.Append(nil), &writeAnswerMirror{g, n[0], n[1], n[2], n[3]})
		var answerBack wire.WriteAnswer
		if err := answerBack.Read(answer.Append(nil)); err != nil || answerBack != answer {
			t.Fatalf("got %+v, %v, want %+v", answerBack, err, answer)
		}

		keys := rapid.SliceOfN(key, 1, 8).Draw(t, "keys")
		get := wire.Get{Mode: wire.ReadMode(n[4] % 2), AfterGroup: raft.GroupID(g), After: id, Keys: keys}
		equal(t, get.Append(nil), &getMirror{n[4] % 2, g, n[0], n[1], keys})
		var getBack wire.Get
		if err := getBack.Read(get.Append(nil)); err != nil || !reflect.DeepEqual(getBack, get) {
			t.Fatalf("got %+v, %v, want %+v", getBack, err, get)
		}

		list := wire.List{Mode: get.Mode, Group: raft.GroupID(g), Epoch: n[2], Prefix: keys[0], After: keys[len(keys)-1],
			Limit: uint32(1 + n[5]%wire.ListRowsMax), MaxBytes: uint32(1 + n[6]%wire.ListBytesMax), KeysOnly: n[7]%2 == 0, AfterID: id}
		equal(t, list.Append(nil), &listMirror{n[4] % 2, g, n[2], list.Prefix, list.After, uint64(list.Limit), uint64(list.MaxBytes), list.KeysOnly, n[0], n[1]})
		var listBack wire.List
		if err := listBack.Read(list.Append(nil)); err != nil || !reflect.DeepEqual(listBack, list) {
			t.Fatalf("got %+v, %v, want %+v", listBack, err, list)
		}

		var getRows []*foundMirror
		var ends []wire.KeyEnd
		var endRows []*endMirror
		var listRows []listRowMirror
		got := wire.AppendGetAnswer(nil, raft.GroupID(g), id, len(keys))
		listed := wire.ListAnswer{Group: raft.GroupID(g), At: id, More: list.KeysOnly, Count: len(keys)}
		for i, k := range keys {
			if k[0]%3 == 0 {
				got, getRows = wire.AppendMissing(got), append(getRows, nil)
			} else {
				got, getRows = wire.AppendFound(got, n[i%9], k), append(getRows, &foundMirror{n[i%9], k})
			}
			if k[0]%4 == 1 && getRows[i] != nil {
				ends = append(ends, wire.KeyEnd{Ends: true, Remaining: n[(i+1)%9], Lease: shardmap.LeaseID(n[(i+2)%9])})
				endRows = append(endRows, &endMirror{n[(i+1)%9], n[(i+2)%9]})
			} else {
				ends, endRows = append(ends, wire.KeyEnd{}), append(endRows, nil)
			}
			var value []byte
			if !list.KeysOnly {
				value = k[:len(k)-1]
			}
			listed.Rows, listRows = wire.AppendListRow(listed.Rows, k, n[i%9], value), append(listRows, listRowMirror{k, n[i%9], value})
		}
		equal(t, got, &getAnswerMirror{g, n[0], n[1], getRows})
		before := []byte("before")
		ending := wire.AppendEnds(append(bytes.Clone(before), got...), len(before), ends)[len(before):]
		equal(t, ending, &endingAnswerMirror{g, n[0], n[1], getRows, endRows})
		for _, timed := range []bool{false, true} {
			body := got
			if timed {
				body = ending
			}
			var a wire.GetAnswer
			if err := a.Read(body); err != nil || a.Group != raft.GroupID(g) || a.At != id || a.Count != len(keys) {
				t.Fatalf("got %+v, %v", a, err)
			}
			for i, want := range getRows {
				version, value, found, ok := a.Next()
				if !ok || found != (want != nil) || found && (version != want.Version || !bytes.Equal(value, want.Value)) {
					t.Fatalf("row %d: got %d % x %t %t, want %+v", i, version, value, found, ok, want)
				}
				if timed && a.End != ends[i] || !timed && a.End != (wire.KeyEnd{}) {
					t.Fatalf("row %d ends %+v, want %+v where the answer says so: %v", i, a.End, ends[i], timed)
				}
			}
		}
		equal(t, listed.Append(nil), &listAnswerMirror{g, n[0], n[1], list.KeysOnly, listRows})
		var l wire.ListAnswer
		if err := l.Read(listed.Append(nil)); err != nil || !reflect.DeepEqual(l, listed) {
			t.Fatalf("got %+v, %v, want %+v", l, err, listed)
		}
		for i, want := range listRows {
			k, version, value, ok := l.Next()
			if !ok || !bytes.Equal(k, want.Key) || version != want.Version || !bytes.Equal(value, want.Value) || (value == nil) != (want.Value == nil) {
				t.Fatalf("row %d: got % x %d % x %t, want %+v", i, k, version, value, ok, want)
			}
		}
		if _, _, _, ok := l.Next(); ok {
			t.Fatal("a row behind the last")
		}
	})
}

// limitsDrawn makes limits those that a frame may have.
func limitsDrawn(l []wire.UsageLimit) []wire.UsageLimit {
	for i := range l {
		l[i].Prefix = fmt.Sprintf("%02d%.20x", i, l[i].Prefix)
	}
	return l
}
