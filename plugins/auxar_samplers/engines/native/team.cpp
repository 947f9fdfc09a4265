// Threads that are started, wait, and end.

#include "team.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <system_error>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

// How often a thread asks before a wait counts as long, and before it sleeps. Asking takes about 50 nanoseconds. Waking
// a thread takes far longer, so it must be rare on an idle machine.
constexpr int SHORT = 200, MOST = 4000;
constexpr uint64_t MOST_THREADS = 0xFFFF;
// If threads wait for more than this share of a call's time, and longer than it takes to wake a thread, one of them was
// kept from running.
constexpr double STALLED = 0.5;
constexpr int64_t WAKING = 300'000;  // nanoseconds
// For how long the calling thread works alone after the first stall, in nanoseconds. This doubles with each further
// stall, up to a limit, and is halved after as long a time without one.
constexpr int64_t SHORTEST_PAUSE = 20'000'000, LONGEST_PAUSE = 160'000'000;

void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("isb");
#endif
}

int64_t nanoseconds() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

}  // namespace

void Signal::change(uint64_t to) {
    // The order of all threads' operations on both numbers makes sure that a thread which goes to sleep either finds
    // the new value, or is found by this function.
    number.store(to, std::memory_order_seq_cst);
    if (sleepers.load(std::memory_order_seq_cst) == 0) return;
    std::lock_guard<std::mutex> lock(mutex);
    woken.notify_all();
}

uint64_t Signal::wait(uint64_t old, int64_t &waited) {
    for (int k = 0; k < SHORT; k++) {
        if (const uint64_t found = value(); found != old) return found;
        relax();
    }
    const int64_t start = nanoseconds();
    for (int k = SHORT; k < MOST && value() == old; k++) relax();
    if (value() == old) {
        std::unique_lock<std::mutex> lock(mutex);
        sleepers.fetch_add(1, std::memory_order_seq_cst);
        woken.wait(lock, [&] { return number.load(std::memory_order_seq_cst) != old; });
        sleepers.fetch_sub(1, std::memory_order_relaxed);
    }
    waited += nanoseconds() - start;
    return value();
}

Team::Team() : process(getpid()) {}

Team::~Team() {
    if (others.empty()) return;
    calls.change((calls.value() | MOST_THREADS) + 1);
    for (std::thread &other : others) other.join();
}

Team &Team::own() {
    struct Owner {
        Team *team = nullptr;
        ~Owner() {
            if (team != nullptr && team->process == getpid()) delete team;
        }
    };
    thread_local Owner owner;
    // The threads of a team do not exist in a process that was forked afterwards, so the team is left as it is.
    if (owner.team == nullptr || owner.team->process != getpid()) owner.team = new Team;
    return *owner.team;
}

int64_t Team::available(int64_t asked) {
    if (alone_until > 0 && nanoseconds() < alone_until) return 1;
    asked = std::min(asked, static_cast<int64_t>(MOST_THREADS));
    try {
        while (static_cast<int64_t>(others.size()) + 1 < asked) {
            const int64_t number = static_cast<int64_t>(others.size()) + 1;
            others.emplace_back([this, number, seen = calls.value()] { work(number, seen); });
        }
    } catch (const std::system_error &) {  // The system refuses to start more threads.
        return static_cast<int64_t>(others.size()) + 1;
    }
    return asked;
}

void Team::begin() {
    began = nanoseconds();
    waited.store(0, std::memory_order_relaxed);
    calls.change((calls.value() | MOST_THREADS) + 1 + static_cast<uint64_t>(count));
}

void Team::end() {
    const int64_t now = nanoseconds(), wait = waited.load(std::memory_order_relaxed) / (count - 1);
    if (wait > WAKING && static_cast<double>(wait) > STALLED * static_cast<double>(now - began)) {
        pause = std::clamp(2 * pause, SHORTEST_PAUSE, LONGEST_PAUSE);
        alone_until = now + pause;
    } else if (pause > 0 && now > alone_until + pause) {
        pause = pause > SHORTEST_PAUSE ? pause / 2 : 0;
        alone_until = pause > 0 ? now : 0;
    }
}

void Team::wait_for_others(uint64_t old) {
    int64_t own = 0;
    phase.wait(old, own);
    if (own > 0) waited.fetch_add(own, std::memory_order_relaxed);
}

void Team::work(int64_t thread, uint64_t seen) {
    int64_t unused = 0;  // Waiting for a call is no stall.
    while (true) {
        seen = calls.wait(seen, unused);
        const int64_t threads = static_cast<int64_t>(seen & MOST_THREADS);
        if (threads == 0) return;
        // A thread that does not take part may still be here when the next call begins, so it reads nothing else.
        if (thread >= threads) continue;
        call(argument, thread, threads);
        barrier();
    }
}
