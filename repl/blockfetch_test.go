package repl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap/points/block"
	"muster/shardmap/points/column"
)

var blockGroup = blocks.Group{ID: 3, Incarnation: 2}

// blockServer answers questions for block files over real connections, as a node does, or otherwise.
type blockServer struct {
	listener net.Listener
	files    *blocks.Store
	cut      int                                                // answers after which a connection is closed; 0: never
	lie      func(q *wire.BlockRange, a *wire.BlockRangeAnswer) // nil: the truth

	mu      sync.Mutex
	conns   int
	answers int
	ended   sync.WaitGroup
}

func (s *blockServer) serve() {
	defer s.ended.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns++
		s.mu.Unlock()
		s.ended.Go(func() { s.answer(conn) })
	}
}

func (s *blockServer) answer(conn net.Conn) {
	defer conn.Close()
	d := wire.NewDecoder(wire.FrameMax)
	for n := 0; s.cut == 0 || n < s.cut; n++ {
		h, body, err := wire.ReadFrame(conn, d)
		var q wire.BlockRange
		if err != nil || h.Type != wire.TypeBlockRange || q.Read(body) != nil {
			return
		}
		a := ReadBlockRange(s.files, &q)
		if s.lie != nil {
			s.lie(&q, a)
		}
		s.mu.Lock()
		s.answers++
		s.mu.Unlock()
		if wire.WriteFrame(conn, wire.TypeBlockRangeAnswer, h.Request, a) != nil {
			return
		}
	}
	// Questions are under way: a plain close would reset the connection, and with it go answers that were sent.
	if conn.(*net.TCPConn).CloseWrite() == nil {
		io.Copy(io.Discard, conn)
	}
}

// blockFetching is a node that has a file, and one that fetches it.
type blockFetching struct {
	t        *testing.T
	server   *blockServer
	from, to *vfs.Mem
	files    *blocks.Store // of the one that fetches
	peers    *Peers
	file     []byte
	sum      block.Sum
	limit    int // chunks that a connection may carry; 0: any
}

// readWearing is a connection whose keys protect so many chunks that come over it.
type readWearing struct {
	net.Conn
	limit int
	read  atomic.Int64
}

func (c *readWearing) Worn() bool { return c.read.Load() >= int64(c.limit)*wire.ChunkBytesMax }

func (c *readWearing) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

// dial connects, and counts what the connection carries.
func (b *blockFetching) dial(ctx context.Context, _ raft.NodeID, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil || b.limit == 0 {
		return conn, err
	}
	return &readWearing{Conn: conn, limit: b.limit}, nil
}

func newBlockFetching(t *testing.T, server *blockServer) *blockFetching {
	t.Helper()
	b := &blockFetching{t: t, server: server, from: vfs.NewMem(), to: vfs.NewMem()}
	var file bytes.Buffer
	w, err := block.NewWriter(&file)
	for i := 0; err == nil && i < 180; i++ {
		one := block.Block{Series: fmt.Appendf(nil, "cpu,host=%d", 100+i), Field: []byte("busy"), Values: column.Values{Kind: column.Float}}
		for k := range 4096 {
			one.Times, one.Values.Floats = append(one.Times, int64(k)), append(one.Values.Floats, float64((i+1)*k*7919%10007)/3)
		}
		err = w.Add(&one)
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	b.file, b.sum = file.Bytes(), info.Sum
	if server.files, err = blocks.Open(blocks.Options{FS: b.from, Dir: "data"}); err == nil {
		b.files, err = blocks.Open(blocks.Options{FS: b.to, Dir: "data"})
	}
	if err == nil {
		var in *blocks.Writer
		if in, err = server.files.Create(blockGroup); err == nil {
			if _, err = in.Write(b.file); err == nil {
				_, err = in.Commit(b.sum)
			}
		}
	}
	if err == nil {
		server.listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	server.ended.Add(1)
	go server.serve()
	b.peers = NewPeers(PeersConfig{
		Dial:     func(context.Context, raft.NodeID, string) (net.Conn, error) { return nil, errors.New("not today") },
		DialBulk: b.dial, Counters: new(wire.Counters), Log: slog.New(slog.DiscardHandler),
	})
	b.peers.SetNode(3, server.listener.Addr().String())
	return b
}

func (b *blockFetching) close() {
	b.peers.Close()
	b.server.listener.Close()
	b.server.ended.Wait()
}

func (b *blockFetching) fetch() error {
	ctx, cancel := context.WithTimeout(context.Background(), busyMax)
	defer cancel()
	f, err := b.peers.FetchBlockFile(ctx, 3, b.files, blockGroup, b.sum)
	if err == nil && (f.Sum != b.sum || f.Size != int64(len(b.file)) || !bytes.Equal(b.to.Bytes("data/points/g3-i2/"+b.sum.Name()), b.file)) {
		return errors.New("it is another file")
	}
	if n := b.files.Stats(); n.Unfinished > 0 || err != nil && n.Files > 0 {
		b.t.Errorf("left is %+v", n)
	}
	return err
}

// A node fetches a file from another one, whenever connections end under way, and however little each may carry.
func TestFetchBlockFile(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, c := range []struct {
		what       string
		cut, limit int
	}{{"over one connection", 0, 0}, {"with a connection for each piece", 1, 0}, {"cut after three", 3, 0}, {"over connections that wear", 0, 1}} {
		b := newBlockFetching(t, &blockServer{cut: c.cut})
		b.limit = c.limit
		if err := b.fetch(); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		b.close()
		pieces := (len(b.file) + wire.ChunkBytesMax - 1) / wire.ChunkBytesMax
		if pieces < 2*wire.BlockRangesMax || c.cut == 1 && b.server.conns != pieces || c.cut == 0 && b.server.answers != pieces || c.limit > 0 && b.server.conns < 2 {
			t.Errorf("%s: %d pieces in %d answers over %d connections", c.what, pieces, b.server.answers, b.server.conns)
		}
	}
}

// The other node does not have the file, lies about it, or says nothing: the error says what to do next, and nothing is
// left behind.
func TestFetchBlockFileFails(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, c := range []struct {
		what  string
		begin func(b *blockFetching)
		lie   func(q *wire.BlockRange, a *wire.BlockRangeAnswer)
		want  error
		text  string
	}{
		{what: "it was removed", want: ErrBlockAbsent, text: "no such block file",
			begin: func(b *blockFetching) { b.server.files.Remove(blockGroup, b.sum) }},
		{what: "it is damaged there", want: ErrBlockAbsent, text: "checksum",
			begin: func(b *blockFetching) { b.from.Corrupt("data/points/g3-i2/"+b.sum.Name(), 700_000, 1) }},
		{what: "it can't be read there", want: ErrBlockBusy, text: "later",
			lie: func(_ *wire.BlockRange, a *wire.BlockRangeAnswer) {
				*a = wire.BlockRangeAnswer{State: wire.BlockBusy, Why: "later"}
			}},
		{what: "a byte is changed on the way", want: blocks.ErrContent,
			lie: func(_ *wire.BlockRange, a *wire.BlockRangeAnswer) { a.Data[7] ^= 1 }},
		{what: "it ends too early", text: "want",
			lie: func(_ *wire.BlockRange, a *wire.BlockRangeAnswer) { a.Data = a.Data[:len(a.Data)/2] }},
		{what: "nothing of it comes", text: "want",
			lie: func(_ *wire.BlockRange, a *wire.BlockRangeAnswer) { a.Data = nil }},
		{what: "its size changes", text: "want",
			lie: func(q *wire.BlockRange, a *wire.BlockRangeAnswer) { a.Size += q.Offset }},
		{what: "it is said to be shorter", want: blocks.ErrContent,
			lie: func(_ *wire.BlockRange, a *wire.BlockRangeAnswer) { a.Size = wire.ChunkBytesMax }},
		{what: "it is said to be empty", text: "want 1 to",
			lie: func(_ *wire.BlockRange, a *wire.BlockRangeAnswer) { a.Size, a.Data = 0, nil }},
		{what: "it is said to have terabytes", text: "want 1 to",
			lie: func(_ *wire.BlockRange, a *wire.BlockRangeAnswer) { a.Size = 1 << 50 }},
		{what: "another part comes", text: "want",
			lie: func(_ *wire.BlockRange, a *wire.BlockRangeAnswer) { a.Offset += 1 }},
		{what: "the disk is full here", want: logstore.ErrFull,
			begin: func(b *blockFetching) { b.to.Limit(100_000) }},
		{what: "the node is not known", text: "not known",
			begin: func(b *blockFetching) { b.peers.Retain(nil) }},
		{what: "nobody listens", text: "refused",
			begin: func(b *blockFetching) { b.server.listener.Close() }},
	} {
		b := newBlockFetching(t, &blockServer{lie: c.lie})
		if c.begin != nil {
			c.begin(b)
		}
		err := b.fetch()
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %v %q", c.what, err, c.want, c.text)
		}
		b.close()
		if c.what == "it is damaged there" && len(b.server.files.Damaged()) != 1 {
			t.Error("the node that has it damaged does not know")
		}
	}
}

// A fetch ends when it is given up or the node stops, though the other side says nothing.
func TestFetchBlockFileEnds(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, stops := range []string{"the fetch", "the node"} {
		reached, silent := make(chan struct{}), make(chan struct{})
		b := newBlockFetching(t, &blockServer{lie: func(q *wire.BlockRange, _ *wire.BlockRangeAnswer) {
			if q.Offset == 0 {
				close(reached)
				<-silent
			}
		}})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() {
			_, err := b.peers.FetchBlockFile(ctx, 3, b.files, blockGroup, b.sum)
			ended <- err
		}()
		<-reached
		if stops == "the fetch" {
			cancel()
		} else {
			b.peers.Close()
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s stops: %v", stops, err)
		}
		cancel()
		close(silent)
		b.close()
		if n := b.files.Stats(); n.Unfinished > 0 || n.Files > 0 {
			t.Errorf("left is %+v", n)
		}
	}
}
