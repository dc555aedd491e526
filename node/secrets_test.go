package node

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/node/login"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// plantedSecret is a secret that must be found nowhere but in the files that are for it.
type plantedSecret struct {
	what  string
	forms [][]byte
}

// secretOf lists the forms in which somebody would find a secret: as it is, and as text.
func secretOf(what string, b []byte) plantedSecret {
	s := plantedSecret{what, [][]byte{b}}
	for _, text := range []string{
		hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)),
		base64.RawStdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b),
		strings.Trim(fmt.Sprint(b), "[]"), // as a log prints bytes
	} {
		s.forms = append(s.forms, []byte(text))
	}
	return s
}

// secretKey lists the forms of a private key: its number, and the files that hold it.
func secretKey(t *testing.T, what string, key *ecdsa.PrivateKey) plantedSecret {
	t.Helper()
	d, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	s := secretOf(what, d)
	pem, err := trust.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s.forms = append(s.forms, bytes.Split(pem, []byte("\n"))[2], []byte(new(big.Int).SetBytes(d).String()))
	return s
}

// in returns the secret that a text has, or "".
func in(text []byte, secrets []plantedSecret) string {
	for _, s := range secrets {
		for i, form := range s.forms {
			if bytes.Contains(text, form) {
				return fmt.Sprintf("%s (form %d)", s.what, i)
			}
		}
	}
	return ""
}

// No node may tell a secret that proves who somebody is: not in a log at its most talkative, an answer or
// an error, a trail or a log of entries, nor in any file but those that are for it. One would doubt it
// where something goes wrong: there code prints what it was given.
func TestSecretsAreNotTold(t *testing.T) {
	if why := secretsTold(t); why != "" {
		t.Error(why)
	}
}

func secretsTold(t *testing.T) string {
	c, log := testConfig(t), new(lines)
	c.SecretFile = filepath.Join(t.TempDir(), "secret")
	if err := WriteNewSecret(c.SecretFile); err != nil {
		t.Fatal(err)
	}
	founding, err := c.Secret()
	if err != nil {
		t.Fatal(err)
	}
	r, admin := securedAs(t, c, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), func(*Node) {})
	nodes := []*runningNode{r}
	const password, wrong, key, value = "correct-horse-battery", "incorrect-horse-battery", "planted/key-of-a-person", "planted value of a key"
	token := makeToken(t, nodes, admin, 2, time.Hour)
	_, tokenSecret, _ := strings.Cut(token.String(), fmt.Sprintf(".%d.", token.ID))
	seed, err := base64.RawURLEncoding.DecodeString(tokenSecret)
	if err != nil || len(seed) == 0 {
		t.Fatalf("the secret of %q: %v", token.String(), err)
	}
	keys := &r.node.notary.keys
	keys.mu.Lock()
	secrets := []plantedSecret{
		secretOf("founding secret", founding), secretOf("password", []byte(password)), secretOf("password that is wrong", []byte(wrong)),
		secretOf("token's secret", seed), secretKey(t, "node's key", keys.key), secretKey(t, "user's key", admin.key),
	}
	root, _ := r.node.table.Load().Security.Issuing()
	for _, wrap := range keys.wraps {
		secrets = append(secrets, secretOf("wrapping key", wrap[:]))
		if made, err := trust.Unwrap(wrap, root.Wrapped, trust.RootID(root.ID)); err == nil {
			secrets = append(secrets, secretKey(t, "root's key", made))
		}
	}
	keys.mu.Unlock()
	if len(secrets) != 8 {
		t.Fatalf("%d secrets", len(secrets))
	}

	// Commands that succeed, and commands that fail.
	var told []string
	tells := func(what string, b []byte, err error) {
		if err != nil {
			b = append(b, err.Error()...)
		}
		told = append(told, what+": "+string(b))
	}
	hash, err := login.Hash(rand.Reader, []byte(password), secureLimits().passwordRounds)
	if err != nil {
		t.Fatal(err)
	}
	command, err := shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: "rob", Password: hash, At: time.Now().Unix()})
	order(t, nodes, admin, command, err)
	guest := newStranger(t)
	secrets = append(secrets, secretKey(t, "guest's key", guest.key))
	request, err := trust.NewRequest(guest.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []wire.Login{
		{Name: "rob", Password: []byte(password), Request: request},
		{Name: "rob", Password: []byte(password), Request: []byte(password)}, // no request
		{Name: "rob", Password: []byte(wrong), Request: request},
		{Name: wrong, Password: []byte("rob"), Request: request}, // who takes one field for the other
		{Name: "rob", Password: []byte(wrong + "\n"), Request: request},
	} {
		conn, _, err := guest.dial(r, wire.DialConfig{Role: wire.RoleClient})
		if err != nil {
			t.Fatal(err)
		}
		_, body, err := conn.ask(wire.TypeLogin, 0, q.Append(nil))
		tells("login", body, err)
		_, body, err = conn.ask(wire.TypeLogin, 0, append([]byte{0xc1}, password...)) // no body
		tells("no login", body, err)
		conn.Close()
	}
	leaf, err := newStranger(t).enrol(r, token, nil)
	tells("enrol", nil, err)
	if leaf == nil {
		t.Errorf("no certificate by the token")
	}
	_, err = newStranger(t).enrol(r, token, func(q *wire.Enrol) { q.Request = seed })
	tells("enrol without a request", nil, err)
	_, err = newStranger(t).enrol(r, token, func(q *wire.Enrol) { q.Signature = append(seed, seed...)[:wire.SignatureSize] })
	tells("enrol with its secret", nil, err)
	_, _, err = newStranger(t).dial(r, wire.DialConfig{Role: wire.RoleClient, Secret: founding})
	tells("a client with the secret", nil, err)
	_, err = dial(t, r.addr, wire.DialConfig{Role: wire.RoleClient, Purpose: wire.PurposeClient, Secret: founding})
	tells("without TLS", nil, err)

	s := admin.asUser(t, r)
	if _, err := s.set(key, value); err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct {
		t    wire.Type
		body []byte
	}{
		{wire.TypeStatus, bodyOf(new(wire.Empty))}, {wire.TypeCounters, bodyOf(new(wire.Empty))}, {wire.TypeDoctor, bodyOf(new(wire.Empty))},
		{wire.TypeTable, bodyOf(new(wire.Empty))}, {wire.TypeTrail, bodyOf(&wire.Trail{})}, {wire.TypeTrail, bodyOf(&wire.Trail{Last: 100})},
		{wire.TypeWhoami, bodyOf(new(wire.Empty))}, {wire.TypeTopology, bodyOf(new(wire.Empty))}, {wire.TypeCheck, bodyOf(new(wire.Check))},
		{wire.TypeLogRange, bodyOf(&wire.LogRange{Group: 0, From: 1, To: 1 << 20})},
		{wire.TypeRenew, bodyOf(&wire.Renew{Request: []byte(password)})}, {wire.TypeRenew, bodyOf(&wire.Renew{User: "rob", Request: request})},
		{wire.TypeKeep, bodyOf(&wire.Keep{ID: wire.WrapKeyName(keys.held()[0])})},
	} {
		s := admin.asUser(t, r) // some answers are streams
		_, body, err := s.ask(q.t, 0, q.body)
		tells(q.t.String(), body, err)
		s.Close()
	}
	for _, o := range told {
		if has := in([]byte(o), secrets); has != "" {
			return fmt.Sprintf("%s is in %.300q", has, o)
		}
	}
	// A hash of a password is for those who look at passwords, and a wrapped key for those who unwrap it.
	kept := []plantedSecret{secretOf("password's hash", hash.Hash[:]), secretOf("root's wrapped key", root.Wrapped)}
	for _, o := range told {
		if has := in([]byte(o), kept); has != "" && !strings.HasPrefix(o, wire.TypeLogRange.String()) {
			return fmt.Sprintf("%s is in the answer to %.60q", has, o)
		}
	}

	r.stop()
	if has := in([]byte(log.text()), append(append(secrets, kept...), secretOf("key", []byte(key)), secretOf("value", []byte(value)))); has != "" {
		return has + " is in the log:\n" + log.text()
	}
	if !strings.Contains(log.text(), "level=DEBUG") && !strings.Contains(log.text(), "level=INFO") {
		t.Error("there is no log")
	}
	trails := 0
	err = filepath.WalkDir(c.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if filepath.Base(filepath.Dir(path)) == tlsDir {
			if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if has := in(b, secrets); has != "" {
			return fmt.Errorf("%s is in %s", has, path)
		}
		if filepath.Base(filepath.Dir(path)) == "trail" {
			trails++
			if has := in(b, append(kept, secretOf("key", []byte(key)), secretOf("value", []byte(value)))); has != "" {
				return fmt.Errorf("%s is in %s", has, path)
			}
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	if trails == 0 {
		t.Error("there is no trail")
	}
	return ""
}
