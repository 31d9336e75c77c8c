// The model API of the live tests on Go's net/http.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"strconv"
	"strings"
	"time"
)

func send(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

func detail(w http.ResponseWriter, status int, text string) {
	send(w, status, map[string]string{"detail": text})
}

func predict(w http.ResponseWriter, r *http.Request) {
	var features struct{ X *float64 }
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&features) != nil || features.X == nil {
		detail(w, http.StatusUnprocessableEntity, "x must be a number")
		return
	}
	send(w, http.StatusOK, map[string]float64{"y": *features.X * 2})
}

func item(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/items/"))
	if err != nil || id >= 1000 {
		detail(w, http.StatusNotFound, "not found")
		return
	}
	send(w, http.StatusOK, map[string]int{"item": id})
}

func stream(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
	w.Header().Set("Content-Type", "text/event-stream")
	w.(http.Flusher).Flush()
	for i := 0; i < n; i++ {
		time.Sleep(time.Duration(ms) * time.Millisecond)
		if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil {
			return
		}
		w.(http.Flusher).Flush()
	}
}

func main() {
	http.HandleFunc("/predict", predict)
	http.HandleFunc("/items/", item)
	http.HandleFunc("/fail", func(w http.ResponseWriter, _ *http.Request) {
		detail(w, http.StatusInternalServerError, "this route always fails")
	})
	http.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond)
		send(w, http.StatusOK, map[string]int{"ms": ms})
	})
	http.HandleFunc("/stream", stream)
	log.Fatal(http.ListenAndServe(":8000", nil))
}
