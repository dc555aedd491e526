package frame

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
)

// Client asks one node. Each of its callers has one request open at a time and
// sleeps until the answer is there, as in a program that serves users; callers
// that share a connection share its writes and reads.
type Client struct{ conns []*conn }

type conn struct {
	net.Conn
	out    *Outbox
	slots  []slot // by caller
	broken atomic.Bool
}

// slot is where one caller waits.
type slot struct {
	answer chan Kind // from the reader, to the caller; never closed
	body   []byte    // written by the reader before it sends, read by the caller after
}

var errBroken = errors.New("the connection broke")

// broke is what a caller is woken with when its connection ends; no node sends it.
const broke Kind = 255

// Dial opens connections to a node, over which the callers are spread.
func Dial(addr string, connections, callers int) (*Client, error) {
	c := &Client{}
	for range connections {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			c.Close()
			return nil, err
		}
		one := &conn{Conn: nc, out: NewOutbox(nc), slots: make([]slot, callers)}
		for i := range one.slots {
			one.slots[i].answer = make(chan Kind, 1)
		}
		go one.read()
		c.conns = append(c.conns, one)
	}
	return c, nil
}

// Close closes the connections. Callers that wait get an error.
func (c *Client) Close() {
	for _, one := range c.conns {
		one.out.Close()
		one.Conn.Close()
	}
}

// Do sends a request and waits for the answer, whose body is valid until the
// caller's next call. A Failed answer is an error.
func (c *Client) Do(caller int, kind Kind, parts ...[]byte) (Kind, []byte, error) {
	one := c.conns[caller%len(c.conns)]
	if one.broken.Load() {
		return 0, nil, errBroken
	}
	one.out.Add(func(b []byte) []byte { return Append(b, kind, uint64(caller), parts...) })
	s := &one.slots[caller]
	switch answer := <-s.answer; answer {
	case broke:
		return 0, nil, errBroken
	case Failed:
		return 0, nil, errors.New(string(s.body))
	default:
		return answer, s.body, nil
	}
}

// Put sets a key.
func (c *Client) Put(caller int, key, value []byte) error {
	answer, _, err := c.Do(caller, Put, key, value)
	if err == nil && answer != Done {
		err = fmt.Errorf("a put was answered with kind %d", answer)
	}
	return err
}

// Get reads a key, which must be there.
func (c *Client) Get(caller int, key []byte) error {
	answer, _, err := c.Do(caller, Get, key)
	if err == nil && answer != Value {
		err = fmt.Errorf("the get of %s was answered with kind %d", key, answer)
	}
	return err
}

// read hands each answer to its caller, until the connection ends.
func (one *conn) read() {
	r := NewReader(one.Conn)
	for {
		frames, err := r.Burst()
		for _, f := range frames {
			if f.ID >= uint64(len(one.slots)) {
				err = ErrDamaged
				break
			}
			s := &one.slots[f.ID]
			s.body = append(s.body[:0], f.Body...)
			s.answer <- f.Kind
		}
		if err != nil {
			one.fail()
			return
		}
	}
}

// fail wakes every caller that waits. One that asks now sees the mark, or has
// added its request before the mark was set and is woken: the mark comes first.
func (one *conn) fail() {
	one.broken.Store(true)
	for i := range one.slots {
		select {
		case one.slots[i].answer <- broke:
		default: // an answer came before the end
		}
	}
}
