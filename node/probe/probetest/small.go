package probetest

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"strings"
)

// Of servers that are not installed here are small ones: each of these functions says, on one
// connection, as much as makes a check succeed. They take any user and password.

// SmallRedis answers PING, and takes AUTH, SELECT and QUIT.
func SmallRedis(c net.Conn) {
	// A command is an array of strings: *N, and N times $LENGTH and the string.
	line := func(r *bufio.Reader) (string, error) {
		text, err := r.ReadString('\n')
		return strings.TrimRight(text, "\r\n"), err
	}
	for r := bufio.NewReader(c); ; {
		head, err := line(r)
		if err != nil {
			return
		}
		words, err := strconv.Atoi(strings.TrimPrefix(head, "*"))
		if err != nil {
			return
		}
		var first string
		for i := range 2 * words {
			word, err := line(r)
			if err != nil {
				return
			}
			if i == 1 {
				first = word
			}
		}
		answer := "+OK\r\n"
		if first == "PING" {
			answer = "+PONG\r\n"
		}
		if _, err := io.WriteString(c, answer); err != nil || first == "QUIT" {
			return
		}
	}
}

// SmallPostgreSQL lets log in without a password, and answers each query as an empty one.
func SmallPostgreSQL(c net.Conn) {
	const (
		sizeBytes = 4 // of a message's length, which counts itself
		bodyMax   = 1 << 16
		ready     = "Z\x00\x00\x00\x05I"
	)
	message := func() bool { // reads one, without its type
		var size [sizeBytes]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return false
		}
		n := binary.BigEndian.Uint32(size[:])
		if n < sizeBytes || n > bodyMax {
			return false
		}
		_, err := io.CopyN(io.Discard, c, int64(n-sizeBytes))
		return err == nil
	}
	if !message() { // the first one has no type
		return
	}
	if _, err := io.WriteString(c, "R\x00\x00\x00\x08\x00\x00\x00\x00"+ready); err != nil {
		return
	}
	for kind := make([]byte, 1); ; {
		if _, err := io.ReadFull(c, kind); err != nil || kind[0] != 'Q' || !message() {
			return
		}
		if _, err := io.WriteString(c, "I\x00\x00\x00\x04"+ready); err != nil {
			return
		}
	}
}

// SmallMySQL lets anybody log in, and answers COM_PING.
func SmallMySQL(c net.Conn) {
	const (
		headBytes = 4 // of a packet: its length, three bytes, and its number
		ping      = 0x0e
		// Protocol 4.1, a scramble of 20 bytes, a database in the login, plugins.
		capabilities = 0x200 | 0x8000 | 0x8 | 0x80000
	)
	packet := func(number byte, body string) bool {
		head := []byte{byte(len(body)), byte(len(body) >> 8), byte(len(body) >> 16), number}
		_, err := c.Write(append(head, body...))
		return err == nil
	}
	read := func() (first byte, ok bool) {
		var head [headBytes]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return 0, false
		}
		body := make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
		if _, err := io.ReadFull(c, body); err != nil || len(body) == 0 {
			return 0, false
		}
		return body[0], true
	}
	const accepted = "\x00\x00\x00\x02\x00\x00\x00"
	greeting := binary.LittleEndian.AppendUint16([]byte("\x0a5.5.0-small\x00\x01\x00\x00\x00scramble\x00"), capabilities&0xffff)
	greeting = append(greeting, 33, 2, 0) // utf8, and autocommit
	greeting = binary.LittleEndian.AppendUint16(greeting, capabilities>>16)
	greeting = append(greeting, 21) // bytes of the scramble and its end
	greeting = append(greeting, make([]byte, 10)...)
	greeting = append(greeting, "of20bytes..!\x00mysql_native_password\x00"...)
	if !packet(0, string(greeting)) {
		return
	}
	if _, ok := read(); !ok || !packet(2, accepted) {
		return
	}
	for {
		if command, ok := read(); !ok || command != ping || !packet(1, accepted) {
			return
		}
	}
}
