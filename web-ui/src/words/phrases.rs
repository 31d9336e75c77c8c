//! Every phrase that takes a figure or a name into it, in every language.

use super::phrase;

phrase! {
    // Everywhere.
    last(span) = "last {0}", "最近 {0}";
    of(part, whole) = "{0} of {1}", "{0} / {1}";
    of_limit(limit) = "of {0}", "/ {0}";
    since(time) = "since {0}", "自 {0}";
    range(from, to) = "{0} to {1}", "{0} 至 {1}";
    from_on(value) = "{0} or more", "{0} 以上";
    and_then(first, second) = "{0}; {1}", "{0}；{1}";
    named(name, value) = "{0}: {1}", "{0}：{1}";
    counted(n, what) = "{0} {1}", "{0} {1}";
    bracketed(what, more) = "{0} ({1})", "{0}（{1}）";
    p95(value) = "p95 {0}", "p95 {0}";
    p95_p99(p95, p99) = "p95 {0} · p99 {1}", "p95 {0} · p99 {1}";
    p95_longest(p95, longest) = "p95 {0} · longest {1}", "p95 {0} · 最長 {1}";
    longest(value) = "longest {0}", "最長 {0}";
    first_byte(value) = "first byte {0}", "首位元組 {0}";
    cores(n) = "{0} cores", "{0} 核";
    requests(n) = "{0} requests", "{0} 個請求";
    containers(n) = "{0} containers", "{0} 個容器";
    show_all(n) = "Show all {0}", "顯示全部 {0} 筆";
    not_available(why) = "Not available: {0}.", "無法取得：{0}。";
    unreadable(why) = "the answer could not be read: {0}", "無法讀取回應：{0}";
    per_second(value) = "{0}/s", "{0}/秒";

    // Header and banners.
    theme(name) = "Theme: {0}", "佈景：{0}";
    theme_switch(name, next) = "Theme: {0}. Switch to {1}", "佈景：{0}。切換為{1}";
    language_switch(short, next) = "{0}: switch the language to {1}", "{0}：切換語言為 {1}";
    of_events(kept, all) = "{0} of {1} events", "{1} 個事件中的 {0} 個";
    captured(detail) = "Captured: {0}", "擷取：{0}";
    connection(state) = "Connection to the daemon: {0}", "與常駐程式的連線：{0}";
    gone_since(time) = "No answer from the daemon since {0}. The figures below are its last.",
        "自 {0} 起常駐程式沒有回應。以下是最後收到的數據。";
    rollups_lost(n) = "{0} rollups could not be kept since the start", "啟動以來有 {0} 筆彙總未能保存";
    alerts_fire(n) = "{0} alerts fire.", "有 {0} 則告警觸發中。";
    alerts(n) = "{0} alerts", "{0} 則告警";
    and_more(n) = "and {0} more", "還有 {0} 則";

    // Overview and service.
    left_out(n) = "{0} running left out by the label ", "{0} 個執行中的容器因標籤而排除：";
    watching(n) = "Watching {0} containers. ", "正在觀測 {0} 個容器。";
    no_service_matches(typed) = "No service matches “{0}”.", "沒有符合「{0}」的服務。";
    window_not_whole(n) = "{0} requests of the window were not seen whole; their durations may be short",
        "此期間有 {0} 個請求沒有完整看到，耗時可能偏短";
    no_service_called(name) = "No service is called “{0}”", "沒有名為「{0}」的服務";
    range_not_whole(n, all) = "{0} of {1} requests in this range were not seen whole; their durations may be short.",
        "此時間範圍的 {1} 個請求中，有 {0} 個沒有完整看到，耗時可能偏短。";
    chart(title, unit) = "{0}, {1}, over time", "{0}，{1}，隨時間變化";
    heatmap(title, summary) = "{0}, by time. {1}", "{0}，隨時間變化。{1}";
    heat_summary(n, from, to, low, high) = "{0} requests between {1} and {2}; most often between {3} and {4}.",
        "{0} 個請求，介於 {1} 與 {2} 之間；最常見於 {3} 至 {4}。";
    times_killed(n) = "out of memory {0}×", "記憶體不足 {0} 次";
    exit_code(code) = "exit code {0}", "結束碼 {0}";
    of_last_requests(n) = "of the last {0} requests", "最近 {0} 個請求";
    of_last(n) = "of the last {0}", "最近 {0} 個";
    content_chunks(n) = "{0} content chunks", "{0} 個內容區塊";
    one_stream(rate) = "one stream {0}", "單一串流 {0}";
    prompts(n) = "prompts {0}", "提示 {0}";
    went_on(time) = "servers went on for {0}", "伺服器仍持續 {0}";
    resources_unread(why) = "History of resources could not be read: {0}.", "無法讀取資源的歷史資料：{0}。";
    details_of(time) = "Details of the request of {0}", "{0} 的請求詳情";
    took(time) = "took {0}", "耗時 {0}";
    took_parts(parts, time) = "{0}; took {1}", "{0}；耗時 {1}";
    where_its_time_went(parts) = "Where its time went: {0}", "時間去向：{0}";
    where_the_time_went(parts) = "Where the time went, mean of a request: {0}", "時間去向，每個請求的平均：{0}";
    queue_known_of(n) = "How long it waited is known of {0} of them; queue is the mean of these.",
        "其中 {0} 個知道等候多久；排隊是這些請求的平均。";
    mean_of(n) = "mean of {0} requests", "{0} 個請求的平均";
    bar_p95(name, value) = "{0}, p95: {1}", "{0}，p95：{1}";
    half_waited(p50, p95) = "half of them {0} or longer, one in twenty {1} or longer",
        "一半等候 {0} 以上，二十分之一等候 {1} 以上";
    about(time) = "about {0}", "約 {0}";
    waiting(waited, worked, felt) = "Requests wait before the server reads them: {0}. It works up to {1} on one, its clients feel up to {2} (p95); its own figures cannot tell.",
        "請求在伺服器讀取前等候：{0}。伺服器處理一個請求最多 {1}，用戶端感受到最多 {2}（p95）；伺服器自己的數據看不出來。";

    mean_over(span) = "mean over {0}", "{0} 的平均";
    narrow_to_status(status) = "Narrow to {0}", "只看 {0}";

    // Capture accounting.
    bytes_fates(fates) = "Bytes: {0}", "位元組：{0}";
    add_up(what) = "{0} add up exactly.", "{0}：帳目完全相符。";
    not_yet(what, n) = "{0}: {1} observed but not accounted for yet.", "{0}：觀測到但尚未入帳 {1}。";
    too_many(what, n) = "{0} do not add up: {1} too many.", "{0}：帳目不符，多出 {1}。";
    unseen(bytes, kernel) = "{0} moved by io_uring, in ways that {1} is too old to show. Requests of this service are missing here; a newer kernel shows them.",
        "{0} 經 io_uring 傳輸，{1}太舊而無法顯示。這裡缺少此服務的部分請求；較新的核心可以看到。";
    kernel_named(release) = "this kernel ({0})", "這個核心版本（{0}）";
    in_all_both(kernel, seen) = "Requests in all: {0} in the kernel, {1} parsed. ", "請求總計：核心 {0}，已解析 {1}。";
    in_all_seen(seen) = "Requests in all: {0} parsed. ", "請求總計：已解析 {0}。";
    inner_beside(n) = "Beside them {0} inner hops over UNIX sockets, counted in no other figure.",
        "另有 {0} 個經由 UNIX socket 的內部轉送，不計入其他數據。";
    unseen_in_all(bytes) = "{0} moved by io_uring in ways this kernel is too old to show.",
        "{0} 經 io_uring 傳輸，這個核心版本太舊而無法顯示。";
    not_told(why) = "not told: {0}", "未提供：{0}";
    counts_only(time) = "counts only since {0} by the CPU budget", "因 CPU 預算，自 {0} 起僅計數";
    over_budget(left_out) = "over its budget: {0}", "超過預算：{0}";
    not_by(what, why) = "not by {0}: {1}", "未受 {0} 限制：{1}";
    rollups_missing(n) = "{0} rows are missing from history: they could not be queued or written.",
        "歷史資料缺少 {0} 筆資料列：無法排入佇列或寫入。";

    // Why a service is worse than it was.
    since_then(time) = "since {0}", "自 {0} 起";
    at(time) = "at {0}", "於 {0}";
    from_to(from, to) = "from {0} to {1}", "自 {0} 至 {1}";
    to_first_chunk(stat, change) = "{0} to the first chunk {1}", "首區塊時間 {0} {1}";
    until_left(stat, change) = "{0} until the answer has left {1}", "回應送完的時間 {0} {1}";
    errors(change) = "errors {0}", "錯誤率 {0}";
    periods_throttled(change) = "{0} of its periods throttled", "被節流的週期占 {0}";
    of_its_limit(change) = "{0} of its limit", "用量為上限的 {0}";
    processes_killed(n) = "{0} processes killed", "{0} 個行程被終止";
    killed_oom(n) = "{0} processes killed: out of memory", "{0} 個行程因記憶體不足被終止";
    part_of_it(share) = "{0} of it", "其中 {0}";
    spent_in(share, phase) = ", {0} {1}", "，{0}花在{1}";
    spent_on(share, phase, route) = ", {0} {1} on {2}", "，{0}花在 {2} 的{1}";
    from_route(share, route) = ", {0} on {1}", "，{0}來自 {1}";
    in_container(name) = ", in container {0}", "，容器 {0}";
    in_starved(name) = " in {0}", "，容器 {0}";
    at_that_time(words) = "At that time: {0}.", "當時：{0}。";
    before(span) = "{0} before", "早 {0}";
    after(span) = "{0} after", "晚 {0}";
    mean_named(name) = "{0}, mean", "{0}，平均";
    of_growth(share) = "{0} of the growth", "占增加的 {0}";

    // Alerts.
    fired_once(span) = "would have fired once, for {0}", "會觸發一次，持續 {0}";
    fired_times(n, span) = "would have fired {0} times, for {1} in all", "會觸發 {0} 次，共 {1}";
    preview(service, words) = "{0} over the last 24 h: {1}", "{0} 最近 24 小時：{1}";
    more_quiet(n) = "and {0} more services, on which it would not have fired", "還有 {0} 個服務，都不會觸發";
    more_fired(n, fired) = "and {0} more services; on {1} of them it would have fired", "還有 {0} 個服務，其中 {1} 個會觸發";
    above(what, value, window) = "{0} above {1} over {2}", "{0} 高於 {1}（統計 {2}）";
    below(what, value, window) = "{0} below {1} over {2}", "{0} 低於 {1}（統計 {2}）";
    against_past(what, window, factor, past) = "{0} over {1} more than {2} times its median of {3}",
        "{0}（統計 {1}）超過最近 {3} 中位數的 {2} 倍";
    and_above(value) = " and above {0}", "，且高於 {0}";
    gone(window, past) = "no request for {0}, where there were some in the {1} before", "{0} 沒有請求，而之前 {1} 有";
    anomaly(what, window, n) = "{0} over {1} further than {2} deviations from what is usual at that time",
        "{0}（統計 {1}）偏離同時段常態超過 {2} 倍偏差";
    held_for(span) = ", for {0}", "，持續 {0}";
    must_be(right) = "must be {0}", "必須是 {0}";
    not_tried(why) = "It could not be tried: {0}.", "無法試算：{0}。";
    retried(why) = "is tried again: {0}", "將重試：{0}";
    failed(why) = "failed: {0}", "失敗：{0}";
    set_variables(names) = "set {0}", "請設定 {0}";
    of_service(alert, service) = "{0} of {1}", "{1} 的 {0}";
    about_state(subject, state) = "{0}, {1}", "{0}，{1}";
    is_evaluated(rule) = "{0} is evaluated", "評估 {0}";
    edit(rule) = "Edit {0}", "編輯 {0}";
    not_changed(why) = "It was not changed: {0}.", "未變更：{0}。";
    silence(alert, service) = "Silence {0} of {1}", "靜默 {1} 的 {0}";
    sentence(words) = "{0}.", "{0}。";

    // Requests.
    shown_requests(shown) = "{0} requests", "{0} 個請求";
    shown_of(shown, held) = "{0} of {1} requests", "{1} 個請求中的 {0} 個";
    many_waiting(n) = " · {0} or more waiting", " · {0} 個以上等待顯示";
    waiting_requests(n) = " · {0} waiting", " · {0} 個等待顯示";
}
