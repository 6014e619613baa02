// An HTTPS server, `server PORT CERTIFICATE KEY`, which prints of each request the client's port, the target, the version of HTTP and the
// bytes of the response's body; and its clients, `client PORT COUNT http1|http2|tls`, each with a connection and a goroutine of its own: they
// print `ready`, and then, for each line that they read, each makes a request, /NUMBER/LINE, and when all have the right answer they print
// `done`. With `tls` they speak HTTP themselves, and read into their stacks, which the garbage collector moves meanwhile.
package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// What the server answers: of all sizes from one record to many.
func answer(path string) string {
	number, _ := strconv.Atoi(strings.Split(path, "/")[1])
	return strings.Repeat(path+"\n", 1+number*number)
}

func serve(port, certificate, key string) {
	var lock sync.Mutex
	handler := func(writer http.ResponseWriter, request *http.Request) {
		io.Copy(io.Discard, request.Body)
		_, port, _ := net.SplitHostPort(request.RemoteAddr)
		text := answer(request.URL.Path)
		lock.Lock()
		fmt.Println(port, request.RequestURI, request.ProtoMajor, len(text))
		lock.Unlock()
		writer.Header().Set("Content-Length", strconv.Itoa(len(text)))
		io.WriteString(writer, text)
	}
	panic(http.ListenAndServeTLS("127.0.0.1:"+port, certificate, key, http.HandlerFunc(handler)))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// Makes requests by net/http.
func client(port, protocol string) func(string) {
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: protocol == "http2",
	}
	client := http.Client{Transport: transport}
	return func(path string) {
		response, err := client.Get("https://127.0.0.1:" + port + path)
		check(err)
		body, err := io.ReadAll(response.Body)
		check(err)
		response.Body.Close()
		if string(body) != answer(path) {
			panic("another answer: " + path)
		}
	}
}

// Makes requests by hand: the server answers when it has the body, which another goroutine sends when this one is about to read.
func byHand(port string) func(string) {
	connection, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{InsecureSkipVerify: true})
	check(err)
	return func(path string) {
		_, err := fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", path)
		check(err)
		sent := make(chan bool)
		go func() {
			runtime.GC()
			runtime.GC()
			_, err := connection.Write([]byte("hello"))
			check(err)
			sent <- true
		}()
		var room [8192]byte
		received := ""
		for !strings.HasSuffix(received, "\r\n\r\n"+answer(path)) {
			count, err := connection.Read(room[:])
			check(err)
			received += string(room[:count])
		}
		<-sent
	}
}

func request(port string, count int, protocol string) {
	clients := make([]func(string), count)
	for number := range clients {
		if protocol == "tls" {
			clients[number] = byHand(port)
		} else {
			clients[number] = client(port, protocol)
		}
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var all sync.WaitGroup
		for number, client := range clients {
			all.Add(1)
			go func(number int, client func(string)) {
				defer all.Done()
				client(fmt.Sprintf("/%d/%s", number, lines.Text()))
			}(number, client)
		}
		all.Wait()
		fmt.Println("done")
	}
}

func main() {
	if os.Args[1] == "server" {
		serve(os.Args[2], os.Args[3], os.Args[4])
	}
	count, err := strconv.Atoi(os.Args[3])
	check(err)
	request(os.Args[2], count, os.Args[4])
}
