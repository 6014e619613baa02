// Two connections that it never closes, one that it does, and two idle ones of a pool.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
)

func readToTheEnd(port string) net.Conn {
	client, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		panic(err)
	}
	io.WriteString(client, "GET /end HTTP/1.1\r\nHost: x\r\n\r\n")
	io.Copy(io.Discard, client)
	return client
}

func main() {
	port := os.Args[1]
	leaked := []net.Conn{readToTheEnd(port), readToTheEnd(port)}
	readToTheEnd(port).Close()
	for range []int{1, 2} {
		pool := http.Client{Transport: &http.Transport{}}
		response, err := pool.Get("http://127.0.0.1:" + port + "/pool")
		if err != nil {
			panic(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(leaked)
}
