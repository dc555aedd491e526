// Package web tests what people see of nodes that run as processes.
//
// A Chromium drives the page, a pseudo-terminal muster top, and HTTP clients read what programs
// read, while nodes are killed and slots move. What the page is made of is tested in node/web/ui,
// who may ask in node/web, what an answer says in node/cmd.
//
// browser_test.go has the browser, dashboard_test.go the cluster before it.
package web
